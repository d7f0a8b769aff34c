/** `longshore rejoin <token>`: the cluster's control plane is elsewhere now, or has another certificate. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { defineCommand } from 'citty';
import { parseDocument } from 'yaml';
import { failed } from '#protocol/errors.ts';
import type { JoinToken } from '#protocol/join.ts';
import { DEFAULT_CONFIG_PATH, readConfig } from '../config.ts';
import { joinPaths, writeWhole } from '../join/files.ts';
import { parseAnyToken } from '../join/token.ts';
import { parseServerAddress } from '../link/address.ts';
import { readServerCertificate } from '../link/dial.ts';
import { exec } from '../system/exec.ts';
import { reporting } from './reporting.ts';

export const rejoin = defineCommand({
  meta: { name: 'rejoin', description: 'Point this member at its cluster’s new control plane, keeping name and key' },
  args: {
    token: { type: 'positional', description: 'What "longshore recover" printed there', required: true },
    'config-dir': {
      type: 'string',
      description: 'Where configuration and key are kept',
      default: dirname(process.env.LONGSHORE_CONFIG ?? DEFAULT_CONFIG_PATH),
    },
    service: { type: 'boolean', description: 'Restart the systemd unit', default: true },
  },
  run: ({ args }) =>
    reporting(async () => {
      const token = parseAnyToken(args.token);
      const path = joinPaths(args['config-dir']).config;
      const { member } = readConfig(path, process.env);
      await checkServer(token);
      const document = parseDocument(readFileSync(path, 'utf8'));
      document.set('server', token.addresses);
      document.set('fingerprint', token.fingerprint);
      writeWhole(path, String(document), 0o600);
      console.log(`Member "${member}" belongs to the control plane at ${token.addresses.join(', ')} now.`);
      if (args.service && existsSync('/run/systemd/system')) {
        await exec('systemctl', ['restart', 'longshore-agent.service']);
      } else console.log('Restart the agent.');
    }),
});

/** Nothing is changed for an address where nobody, or somebody else, answers. */
async function checkServer({ addresses, fingerprint }: JoinToken): Promise<void> {
  const reasons: string[] = [];
  for (const address of addresses) {
    try {
      const seen = await readServerCertificate(parseServerAddress(address));
      if (seen.fingerprint === fingerprint) return;
      reasons.push(`${address} shows the certificate ${seen.fingerprint}`);
    } catch (error) {
      reasons.push(error instanceof Error ? error.message : String(error));
    }
  }
  throw failed(`The control plane of the token was not found: ${reasons.join('; ')}`);
}
