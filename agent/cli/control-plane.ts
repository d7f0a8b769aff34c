/** Commands that only a machine with a control plane has: `bin/longshore` starts them there, these say so elsewhere. */
import { defineCommand } from 'citty';
import { reporting } from './reporting.ts';

const onControlPlane = (name: string, description: string) =>
  defineCommand({
    meta: { name, description: `${description} (on the control plane’s machine)` },
    run: () =>
      reporting(async () => {
        throw new Error(`There is no control plane here: run "longshore ${name}" on its machine`);
      }),
  });

export const backup = onControlPlane('backup', 'Copy database and keys into a file');
export const restore = onControlPlane('restore', 'Put a backup into an empty data directory');
export const promote = onControlPlane('promote', 'Make a replica the database');
export const recover = onControlPlane('recover', 'Put the cluster together again from its hosts');
