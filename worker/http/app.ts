/** The whole HTTP surface: one function per resource group, and nothing else. */
import { createBase, refuseOtherMethods } from './base.ts';
import { createContext } from './context.ts';
import type { App } from './route.ts';
import { accessTokenRoutes } from './routes/access-tokens.ts';
import { agentRoutes } from './routes/agent.ts';
import { certificateRoutes } from './routes/certificates.ts';
import { clusterRoutes } from './routes/cluster.ts';
import { eventRoutes } from './routes/events.ts';
import { healthRoutes } from './routes/health.ts';
import { hookRoutes } from './routes/hooks.ts';
import { imageRoutes } from './routes/images.ts';
import { instanceRoutes } from './routes/instances.ts';
import { networkRoutes } from './routes/networks.ts';
import { operationRoutes } from './routes/operations.ts';
import { profileRoutes } from './routes/profiles.ts';
import { projectRoutes } from './routes/projects.ts';
import { resourceRoutes } from './routes/resources.ts';
import { serverRoutes } from './routes/server.ts';
import { storagePoolRoutes } from './routes/storage-pools.ts';
import { triggerRoutes } from './routes/triggers.ts';
import { warningRoutes } from './routes/warnings.ts';
import { webhookRoutes } from './routes/webhooks.ts';

export function createApp(): App {
  const app = createBase(createContext);
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
  triggerRoutes(app);
  hookRoutes(app);
  webhookRoutes(app);
  healthRoutes(app);
  agentRoutes(app);
  refuseOtherMethods(app);
  return app;
}
