/** Name rules of LXD's resources (lxd-api 10.5). Each `check…` returns LXD's refusal text, or null when the name is good. */

const MEMBER = /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what is looked for
const CONTROL = /[\u0000-\u001f\u007f]/;

/** A valid host name: 1-63 letters, digits and hyphens, no leading digit or hyphen, no trailing hyphen. */
export function checkInstanceName(name: string): string | null {
  const refuse = (text: string) => `Invalid instance name: ${text}`;
  if (name.length < 1 || name.length > 63) return refuse('Name must be 1-63 characters long');
  if (name.startsWith('-')) return refuse('Name must not start with "-" character');
  if (name.endsWith('-')) return refuse('Name must not end with "-" character');
  if (/^[0-9]/.test(name)) return refuse('Name must not start with a number');
  if (!/^[A-Za-z0-9-]+$/.test(name)) return refuse('Name can only contain alphanumeric and hyphen characters');
  return null;
}

/** Profiles, storage pools and volumes: no slash, not `.` or `..`; `what` is LXD's plural ("Profile names"). */
function checkPathSegment(what: string, name: string): string | null {
  if (name === '') return 'No name provided';
  if (name.includes('/')) return `${what} may not contain slashes`;
  if (name === '.' || name === '..') return `Invalid name "${name}"`;
  if (CONTROL.test(name) || name.length > 255) return `${what} may not contain control characters`;
  return null;
}

export const checkProfileName = (name: string) => checkPathSegment('Profile names', name);

/** Pools also become directory and dataset names on the hosts, so white space and shell-ish characters are refused. */
export function checkPoolName(name: string): string | null {
  const refusal = checkPathSegment('Storage pool names', name);
  if (refusal !== null) return refusal;
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name)) return `Invalid storage pool name "${name}"`;
  return null;
}

export function checkVolumeName(name: string): string | null {
  const refusal = checkPathSegment('Storage volume names', name);
  if (refusal !== null) return refusal;
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name)) return `Invalid storage volume name "${name}"`;
  return null;
}

/** An interface name the kernel and dnsmasq take. */
export function checkNetworkName(name: string): string | null {
  if (name === '') return 'No name provided';
  if (name.length < 2) return 'Network interface is too short (minimum 2 characters)';
  if (name.length > 15) return 'Network interface is too long (maximum 15 characters)';
  if (name === '.' || name === '..') return `Network interface cannot be called "${name}"`;
  if (name.startsWith('-')) return 'Network interface must not start with "-" character';
  if (!/^[-_a-zA-Z0-9.]+$/.test(name)) return 'Network interface contains invalid characters';
  return null;
}

export function checkMemberName(name: string): string | null {
  if (name === '') return 'No name provided';
  if (name.startsWith('@')) return 'ServerName may not start with "@"';
  if (!MEMBER.test(name)) return `Invalid cluster member name "${name}"`;
  return null;
}

export function checkProjectName(name: string): string | null {
  if (name === '') return 'No name provided';
  if (name.includes('/')) return 'Project names may not contain slashes';
  if (name.includes(' ')) return 'Project names may not contain spaces';
  if (name.includes('_')) return 'Project names may not contain underscores';
  if (/['"]/.test(name)) return 'Project names may not contain quotes';
  if (name === '*') return 'Reserved project name';
  if (name === '.' || name === '..' || name.length > 63 || CONTROL.test(name)) return `Invalid project name "${name}"`;
  return null;
}

export function checkDeviceName(name: string): string | null {
  if (!/^[-_./:a-zA-Z0-9]{1,63}$/.test(name)) return `Invalid device name "${name}"`;
  return null;
}

export function checkAliasName(name: string): string | null {
  if (name === '') return 'Alias name is empty';
  if (CONTROL.test(name) || name.length > 255) return 'Alias names may not contain control characters';
  return null;
}

export const isFingerprint = (text: string) => /^[0-9a-f]{64}$/.test(text);

/** True when the value holds a byte that could end a line of a config file of liblxc, dnsmasq or nft. */
export const hasLineBreak = (value: string) => /[\0\n\r]/.test(value);

/** LXD's name of an instance on a host: bare in the default project, `project_name` elsewhere. */
export const hostName = (project: string, name: string) => (project === 'default' ? name : `${project}_${name}`);

/** LXD's name of a custom volume on a host, with the project always in front. */
export const hostVolumeName = (project: string, name: string) => `${project}_${name}`;
