/** The OpenAPI document of the whole API, made from the routes' own schemas. */
import type { App } from './route.ts';

/** OpenAPI 3.1. The envelopes around answers are described in lxd-api; here stand the paths, queries and bodies. */
export function describeApi(app: App) {
  app.openAPIRegistry.registerComponent('securitySchemes', 'tls', { type: 'mutualTLS' });
  return app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: { title: 'Longshore', version: '1.0', description: "LXD's REST API over a cluster of hosts behind NAT" },
    servers: [{ url: '/' }],
  });
}
