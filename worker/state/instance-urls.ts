/** Paths of instances in events and operations: `/1.0/…`, with the project when it is not the default one. Pure. */

const query = (project: string) => (project === 'default' ? '' : `?project=${encodeURIComponent(project)}`);

export const instanceUrl = (project: string, name: string): string =>
  `/1.0/instances/${encodeURIComponent(name)}${query(project)}`;

/** An operation's `resources` for one instance: LXD lists it under its old name too. */
export const instanceResources = (project: string, name: string): Record<string, string[]> => ({
  instances: [instanceUrl(project, name)],
  containers: [`/1.0/containers/${encodeURIComponent(name)}${query(project)}`],
});
