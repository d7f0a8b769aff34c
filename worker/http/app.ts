/** The whole HTTP surface: one function per resource group, and nothing else. */
import { createBase, refuseOtherMethods } from './base.ts';
import { createContext } from './context.ts';
import type { App } from './route.ts';
import { accessTokenRoutes } from './routes/access-tokens.ts';
import { agentRoutes } from './routes/agent.ts';
import { certificateRoutes } from './routes/certificates.ts';
import { clusterRoutes } from './routes/cluster.ts';
import { docsRoutes } from './routes/docs.ts';
import { eventRoutes } from './routes/events.ts';
import { healthRoutes } from './routes/health.ts';
import { hookRoutes } from './routes/hooks.ts';
import { imageRoutes } from './routes/images.ts';
import { instanceRoutes } from './routes/instances.ts';
import { metricsRoutes } from './routes/metrics.ts';
import { networkRoutes } from './routes/networks.ts';
import { oidcRoutes } from './routes/oidc.ts';
import { oidcLoginRoutes } from './routes/oidc-login.ts';
import { operationRoutes } from './routes/operations.ts';
import { profileRoutes } from './routes/profiles.ts';
import { projectRoutes } from './routes/projects.ts';
import { recoveryRoutes } from './routes/recovery.ts';
import { resourceRoutes } from './routes/resources.ts';
import { serverRoutes } from './routes/server.ts';
import { storagePoolRoutes } from './routes/storage-pools.ts';
import { triggerRoutes } from './routes/triggers.ts';
import { userRoutes } from './routes/users.ts';
import { warningRoutes } from './routes/warnings.ts';
import { webhookRoutes } from './routes/webhooks.ts';

export function createApp(): App {
  const app = createBase(createContext);
  addRoutes(app);
  refuseOtherMethods(app);
  return app;
}

/** All there are, whatever makes the context of their requests. */
export function addRoutes(app: App): void {
  serverRoutes(app);
  eventRoutes(app);
  operationRoutes(app);
  certificateRoutes(app);
  accessTokenRoutes(app);
  clusterRoutes(app);
  instanceRoutes(app);
  imageRoutes(app);
  storagePoolRoutes(app);
  networkRoutes(app);
  profileRoutes(app);
  projectRoutes(app);
  warningRoutes(app);
  resourceRoutes(app);
  metricsRoutes(app);
  triggerRoutes(app);
  hookRoutes(app);
  webhookRoutes(app);
  userRoutes(app);
  oidcRoutes(app);
  oidcLoginRoutes(app);
  healthRoutes(app);
  docsRoutes(app);
  agentRoutes(app);
  recoveryRoutes(app);
}
