/** The network part of the dialogue. */
import { isIPv4, isIPv6 } from 'node:net';
import { checkNetworkName } from '#protocol/names.ts';
import type { Terminal } from '../prompt/terminal.ts';
import type { Preseed } from './preseed.ts';
import type { WizardFacts } from './wizard.ts';

type Network = Preseed['networks'][number];

export interface NetworkAnswer {
  network: Network | null;
  /** For the default profile. */
  nic: Record<string, string> | null;
}

const CREATE = 'Would you like to create a new local network bridge? (yes/no) [default=yes]: ';

/** Outside a cluster a new bridge is offered first, in one an existing bridge, as by LXD; then the other. */
export async function askNetwork(terminal: Terminal, facts: WizardFacts, clustered: boolean): Promise<NetworkAnswer> {
  if (!clustered && (await terminal.askBool(CREATE, true))) return askBridge(terminal, facts);
  const existing =
    'Would you like to configure LXD to use an existing bridge or host interface? (yes/no) [default=no]: ';
  if (await terminal.askBool(existing, false)) return { network: null, nic: await askExisting(terminal, facts) };
  if (clustered && (await terminal.askBool(CREATE, true))) return askBridge(terminal, facts);
  return { network: null, nic: null };
}

async function askExisting(terminal: Terminal, facts: WizardFacts): Promise<Record<string, string>> {
  for (;;) {
    const name = await terminal.askString('Name of the existing bridge or host interface: ');
    const kind = facts.networks.has(name) ? 'bridge' : facts.findInterface(name);
    if (kind === 'bridge') return { name: 'eth0', nictype: 'bridged', parent: name, type: 'nic' };
    if (kind === null) terminal.print("The requested interface doesn't exist. Please choose another one.");
    else
      terminal.print(
        'The requested interface is no bridge, and containers are joined by bridges. Please choose another one.',
      );
  }
}

async function askBridge(terminal: Terminal, facts: WizardFacts): Promise<NetworkAnswer> {
  const name = await askBridgeName(terminal, facts);
  const config: Record<string, string> = {};
  for (const [family, label] of [
    ['ipv4', 'IPv4'],
    ['ipv6', 'IPv6'],
  ] as const) {
    const question = `What ${label} address should be used? (CIDR subnet notation, “auto” or “none”) [default=auto]: `;
    const address = await terminal.askString(question, 'auto', (text) => checkAddress(family, text));
    config[`${family}.address`] = address;
    if (address === 'auto' || address === 'none') continue;
    const nat = await terminal.askBool(
      `Would you like LXD to NAT ${label} traffic on your bridge? [default=yes]: `,
      true,
    );
    config[`${family}.nat`] = String(nat);
  }
  const network = { name, type: 'bridge', description: '', project: '', config };
  return { network, nic: { name: 'eth0', network: name, type: 'nic' } };
}

async function askBridgeName(terminal: Terminal, facts: WizardFacts): Promise<string> {
  for (;;) {
    const name = await terminal.askString(
      'What should the new bridge be called? [default=lxdbr0]: ',
      'lxdbr0',
      checkNetworkName,
    );
    if (!facts.networks.has(name)) return name;
    terminal.print(`The requested network bridge "${name}" already exists. Please choose another name.`);
  }
}

function checkAddress(family: 'ipv4' | 'ipv6', text: string): string | null {
  if (text === 'auto' || text === 'none') return null;
  const [address = '', prefix = ''] = text.split('/');
  const good = (family === 'ipv4' ? isIPv4(address) : isIPv6(address)) && /^\d{1,3}$/.test(prefix);
  return good ? null : `Not an ${family === 'ipv4' ? 'IPv4' : 'IPv6'} address with a subnet "${text}"`;
}
