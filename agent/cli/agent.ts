/** `longshore agent`. */
import { defineCommand } from 'citty';
import { DEFAULT_CONFIG_PATH } from '../config.ts';
import { runAgent } from '../main.ts';
import { reporting } from './reporting.ts';

export const agent = defineCommand({
  meta: { name: 'agent', description: 'Run the agent of this host' },
  args: {
    config: {
      type: 'string',
      description: 'Configuration file',
      default: process.env.LONGSHORE_CONFIG ?? DEFAULT_CONFIG_PATH,
    },
  },
  run: ({ args }) => reporting(() => runAgent(args.config)),
});
