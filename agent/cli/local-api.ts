/** The cluster's API as a command on a member reaches it: through the agent's socket. */
import { badRequest } from '#protocol/errors.ts';
import { DEFAULT_CONFIG_PATH, readConfig } from '../config.ts';
import { type Api, createApi } from '../init/api.ts';

/** The flag by which such commands find the socket. */
export const CONFIG_ARG = {
  config: {
    type: 'string',
    description: 'Configuration file of the agent',
    default: process.env.LONGSHORE_CONFIG ?? DEFAULT_CONFIG_PATH,
  },
} as const;

/** Throws when this host has no agent that serves a socket. */
export function openLocalApi(configPath: string): Api {
  const [socketPath] = readConfig(configPath, process.env).socketPaths;
  if (socketPath === undefined) throw badRequest('The agent of this host serves no local socket');
  return createApi(socketPath);
}
