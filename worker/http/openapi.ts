/** The OpenAPI document of the whole API, made from the routes' own schemas. */
import { AsyncAnswer, ErrorAnswer, SyncAnswer } from './answers.ts';
import { SHARED_ANSWERS, SHARED_PARAMETERS } from './describe.ts';
import type { App } from './route.ts';

const DESCRIPTION = `LXD's REST API over a cluster of hosts behind NAT, with extensions whose names begin with "longshore_".

Every answer of /1.0 in JSON is one of three envelopes: SyncAnswer, AsyncAnswer, ErrorAnswer. Fields that are not known are ignored, and \`null\`
is as good as absent. A request whose path is known but not its method answers 501. The paths below /agent/ are for hosts' agents
and no part of this document.`;

/** OpenAPI 3.1, of all routes made by `route`. The same for every request: make it once. */
export function describeApi(app: App) {
  const { openAPIRegistry } = app;
  const registered = new Set(openAPIRegistry.definitions.map((one) => (one.type === 'component' ? one.name : '')));
  if (!registered.has('tls')) {
    openAPIRegistry.registerComponent('securitySchemes', 'tls', {
      type: 'mutualTLS',
      description: 'A client certificate in the trust store',
    });
    openAPIRegistry.registerComponent('securitySchemes', 'bearer', {
      type: 'http',
      scheme: 'bearer',
      bearerFormat: 'JWT',
      description: 'A token of "longshore token issue", or of the OIDC issuer',
    });
    for (const [name, parameter] of Object.entries(SHARED_PARAMETERS)) {
      openAPIRegistry.registerComponent('parameters', name, parameter);
    }
    for (const [name, answer] of Object.entries(SHARED_ANSWERS)) {
      openAPIRegistry.registerComponent('responses', name, answer);
    }
    openAPIRegistry.register('SyncAnswer', SyncAnswer);
    openAPIRegistry.register('AsyncAnswer', AsyncAnswer);
    openAPIRegistry.register('ErrorAnswer', ErrorAnswer);
  }
  return app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: { title: 'Longshore', version: '1.0', description: DESCRIPTION },
    servers: [{ url: '/' }],
  });
}
