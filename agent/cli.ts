/** The command line of a host: one file for each command, in `cli/`. */
import { defineCommand, runMain } from 'citty';
import { agent } from './cli/agent.ts';
import { backup, promote, recover, restore } from './cli/control-plane.ts';
import { init } from './cli/init.ts';
import { join } from './cli/join.ts';
import { rejoin } from './cli/rejoin.ts';
import { token } from './cli/token.ts';
import { user } from './cli/user.ts';
import { version } from './cli/version.ts';
import { AGENT_VERSION } from './version.ts';

await runMain(
  defineCommand({
    meta: { name: 'longshore', version: AGENT_VERSION, description: 'An LXD-style cluster: agent and tools of a host' },
    subCommands: { agent, init, join, rejoin, token, user, version, backup, restore, recover, promote },
  }),
);
