/** `longshore agent`, and `longshore agent upgrade [member]`. */
import { defineCommand } from 'citty';
import { DEFAULT_CONFIG_PATH } from '../config.ts';
import { runAgent } from '../main.ts';
import { handOver } from '../release/start.ts';
import { reporting } from './reporting.ts';
import { upgradeAgent } from './upgrade.ts';

export const agent = defineCommand({
  meta: { name: 'agent', description: 'Run the agent of this host' },
  args: {
    action: { type: 'positional', description: 'Nothing to run it, "upgrade" to replace it', required: false },
    member: { type: 'positional', description: 'Whose agent to upgrade, by default this host’s', required: false },
    config: {
      type: 'string',
      description: 'Configuration file',
      default: process.env.LONGSHORE_CONFIG ?? DEFAULT_CONFIG_PATH,
    },
  },
  run: ({ args }) =>
    reporting(async () => {
      if (args.action === 'upgrade') return upgradeAgent(args.config, args.member);
      if (args.action !== undefined) throw new Error(`Unknown action "${args.action}": there is only "upgrade"`);
      await handOver(args.config);
      await runAgent(args.config);
    }),
});
