/** The cluster's API as a command on a member reaches it: through the agent's socket. */
import { badRequest } from '#protocol/errors.ts';
import { DEFAULT_CONFIG_PATH, readConfig } from '../config.ts';
import { createApi } from '../init/api.ts';

/** The flag by which such commands find the socket. */
export const CONFIG_ARG = {
  type: 'string',
  description: 'Configuration file of the agent',
  default: process.env.LONGSHORE_CONFIG ?? DEFAULT_CONFIG_PATH,
} as const;

/** The metadata of the answer. Throws the API's own error texts, and when this host has no agent that serves a socket. */
export function askLocally(
  configPath: string,
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
  path: string,
  body?: unknown,
): Promise<unknown> {
  const [socketPath] = readConfig(configPath, process.env).socketPaths;
  if (socketPath === undefined) throw badRequest('The agent of this host serves no local socket');
  const api = createApi(socketPath);
  return method === 'GET' ? api.get(path) : api.send(method, path, body);
}
