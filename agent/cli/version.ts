/** `longshore version`. */
import { defineCommand } from 'citty';
import { PROTOCOL_VERSION } from '#protocol/version.ts';
import { AGENT_VERSION } from '../version.ts';

export const version = defineCommand({
  meta: { name: 'version', description: 'Print versions' },
  run: () => console.log(`longshore ${AGENT_VERSION} (protocol ${PROTOCOL_VERSION})`),
});
