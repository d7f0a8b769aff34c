/** The value types of instance config keys and device options (lxd-api 10.6, 10.7). Each returns LXD's refusal, or null. */
import { parseBool, parseSizeBytes } from '#protocol/units.ts';

/** What is wrong with a value, in LXD's words; null when nothing is. Empty values never get here: they mean "unset". */
export type ValueCheck = (value: string) => string | null;

export const anyValue: ValueCheck = () => null;

export const bool: ValueCheck = (value) =>
  parseBool(value) === null ? `Invalid value for a boolean "${value}"` : null;

const SAFE_INTEGER = /^-?\d{1,15}$/;

export const integer: ValueCheck = (value) =>
  SAFE_INTEGER.test(value) ? null : `Invalid value for an integer "${value}"`;

export const unsigned: ValueCheck = (value) =>
  /^\d{1,15}$/.test(value) ? null : `Invalid value for an integer "${value}"`;

export const integerBetween =
  (low: number, high: number): ValueCheck =>
  (value) =>
    integer(value) ??
    (Number(value) < low || Number(value) > high
      ? `Invalid value for an integer "${value}": must be between ${low} and ${high}`
      : null);

export const oneOf =
  (...valid: string[]): ValueCheck =>
  (value) =>
    valid.includes(value) ? null : `Invalid value "${value}" (not one of [${valid.join(' ')}])`;

export const size: ValueCheck = (value) => {
  const bytes = parseSizeBytes(value);
  return bytes === null || !Number.isSafeInteger(bytes) ? `Invalid value: ${value}` : null;
};

/** `512MiB` or `50%`, not 0 (LXD: a limit of nothing is a mistake). */
export const memoryLimit: ValueCheck = (value) => {
  const percent = /^(\d{1,3})%$/.exec(value);
  if (percent) {
    const share = Number(percent[1]);
    return share > 0 && share <= 100 ? null : `Invalid value: ${value}`;
  }
  if (size(value) !== null) return `Invalid value: ${value}`;
  return parseSizeBytes(value) === 0 ? "Memory limit can't be 0" : null;
};

/** A count (`2`) or a set of processors (`0-3,7`). */
export const cpuLimit: ValueCheck = (value) => {
  if (/^\d{1,5}$/.test(value)) return Number(value) > 0 ? null : 'Invalid CPU limit syntax';
  const good = value.split(',').every((part) => {
    const range = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
    return range !== null && (range[2] === undefined || Number(range[1]) <= Number(range[2]));
  });
  return good ? null : 'Invalid CPU limit syntax';
};

/** `50%`, or `25ms/100ms` with neither part zero. */
export const cpuAllowance: ValueCheck = (value) => {
  const percent = /^(\d{1,5})%$/.exec(value);
  if (percent) return Number(percent[1]) > 0 ? null : `Invalid allowance "${value}"`;
  const parts = /^(\d{1,7})ms\/(\d{1,7})ms$/.exec(value);
  return parts && Number(parts[1]) > 0 && Number(parts[2]) > 0 ? null : `Invalid allowance "${value}"`;
};

/** A kernel resource limit: `1024`, `unlimited` or `soft:hard`. */
export const kernelLimit: ValueCheck = (value) => {
  const parts = value.split(':');
  const good = parts.length <= 2 && parts.every((part) => part === 'unlimited' || /^\d{1,19}$/.test(part));
  return good ? null : `Invalid kernel limit "${value}"`;
};

/** `1M 2H 3d 4w 5m 6y`, each unit at most once. */
export const expiry: ValueCheck = (value) => {
  const parts = value.trim().split(/\s+/);
  const units = parts.map((part) => /^\d{1,6}([MHdwmy])$/.exec(part)?.[1]);
  return units.every((unit) => unit !== undefined) && new Set(units).size === units.length
    ? null
    : `Invalid expiry expression "${value}"`;
};

const SCHEDULE_ALIAS = /^@(hourly|daily|midnight|weekly|monthly|annually|yearly|startup|never)$/;
const CRON_FIELD = /^[0-9A-Za-z*,/-]+$/;

/** A cron expression of five fields, or a comma list of aliases. */
export const schedule: ValueCheck = (value) => {
  const aliases = value.split(',').map((part) => part.trim());
  if (aliases.every((part) => SCHEDULE_ALIAS.test(part))) return null;
  const fields = value.trim().split(/\s+/);
  return fields.length === 5 && fields.every((field) => CRON_FIELD.test(field))
    ? null
    : 'Schedule must be of the form: <minute> <hour> <day-of-month> <month> <day-of-week>';
};

export const macAddress: ValueCheck = (value) =>
  /^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(value)
    ? null
    : 'Invalid MAC address, must be 6 bytes of hex separated by colons';

/** A name the kernel takes for an interface. */
export const interfaceName: ValueCheck = (value) => {
  if (value.length > 15) return 'Network interface is too long (maximum 15 characters)';
  if (value === '.' || value === '..' || value.startsWith('-') || !/^[-_a-zA-Z0-9.]+$/.test(value))
    return 'Network interface contains invalid characters';
  return null;
};

export const uuid: ValueCheck = (value) =>
  /^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/.test(value) ? null : `Invalid UUID "${value}"`;

/** Names separated by commas and blanks, as module lists are. */
export const nameList: ValueCheck = (value) =>
  /^[A-Za-z0-9_.,\s-]+$/.test(value) ? null : `Invalid list of names "${value}"`;
