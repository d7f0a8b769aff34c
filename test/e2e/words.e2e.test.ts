/** What LXD 5.0.2 was seen to say to these very words, by the same client: every line was compared with it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lxc, newName, removeInstances } from './support.ts';

const name = newName('words');
const other = newName('other');
const profile = newName('profile');
beforeAll(async () => {
  expect((await lxc('launch', 'tiny', name)).code).toBe(0);
  expect((await lxc('init', 'tiny', other)).code).toBe(0);
  expect((await lxc('profile', 'create', profile)).code).toBe(0);
});
afterAll(async () => {
  await removeInstances([name, other]);
  await lxc('profile', 'delete', profile);
});

const CREATING = 'Failed creating instance record';

/** Words, with the names of this run for `RUNNING`, `STOPPED` and `PROFILE`, and what they are answered. */
const REFUSED: [words: string, refusal: string][] = [
  ['launch tiny RUNNING', `${CREATING}: Add instance info to the database: This "instances" entry already exists`],
  ['launch nope w1', 'Image not found'],
  ['launch tiny 1bad', 'Invalid instance name: Name must not start with a number'],
  ['launch tiny bad_name', 'Invalid instance name: Name can only contain alphanumeric and hyphen characters'],
  ['launch tiny w1 -p nope', 'Requested profile "nope" doesn\'t exist'],
  ['launch tiny w1 -s nope', 'Failed loading storage pool "nope": Storage pool not found'],
  ['launch tiny w1 -n nope', 'Failed loading network "nope": Network not found'],
  ['launch tiny w1 -c nope=1', `${CREATING}: Unknown configuration key: nope`],
  ['launch tiny w1 -c limits.memory=abc', `${CREATING}: Invalid value: abc`],
  ['launch tiny w1 -c limits.cpu=abc', `${CREATING}: Invalid CPU limit syntax`],
  ['launch tiny w1 -c boot.autostart=maybe', `${CREATING}: Invalid value for a boolean "maybe"`],
  [
    'launch tiny w1 -d root,size=abc',
    `${CREATING}: Failed initialising instance: Invalid devices: Device validation failed for "root": Invalid value for device option "size": Invalid value: abc`,
  ],
  [
    'launch tiny w1 --no-profiles',
    `${CREATING}: Failed initialising instance: Failed getting root disk: No root device could be found`,
  ],
  ['launch tiny w1 -t nope', "Provided instance type doesn't exist: nope"],
  ['launch tiny w1 --target nope', 'Cluster member not found'],
  ['launch tiny w1 --target @nope', 'Cluster group "nope" doesn\'t exist'],
  ['launch tiny w1 --vm', 'Asked for a VM but image is of type container'],
  ['start nope', 'Instance not found'],
  ['start RUNNING', 'The instance is already running'],
  ['stop STOPPED', 'The instance is already stopped'],
  ['restart STOPPED', 'The instance is already stopped'],
  ['pause STOPPED', "The container isn't running"],
  ['exec STOPPED -- true', 'Instance is not running'],
  ['exec nope -- true', 'Instance not found'],
  ['info nope', 'Instance not found'],
  ['delete RUNNING', 'The instance is currently running, stop it first or pass --force'],
  ['rename RUNNING w1', 'Renaming of running container not allowed'],
  ['rename RUNNING STOPPED', 'Name "STOPPED" already in use'],
  ['rename STOPPED STOPPED', 'Name "STOPPED" already in use'],
  ['rename STOPPED 1bad', 'Invalid instance name: Name must not start with a number'],
  ['config set RUNNING nope.key 1', 'Invalid config: Unknown configuration key: nope.key'],
  ['config set RUNNING limits.memory 0', "Invalid config: Memory limit can't be 0"],
  ['config set RUNNING limits.cpu abc', 'Invalid config: Invalid CPU limit syntax'],
  ['config set RUNNING security.nesting banana', 'Invalid config: Invalid value for a boolean "banana"'],
  ['config set RUNNING volatile.foo x', 'Invalid config: Unknown configuration key: volatile.foo'],
  ['config unset RUNNING nope.key', "Can't unset key 'nope.key', it's not currently set"],
  ['config set core.nope 1', "cannot set 'core.nope' to '1': unknown key"],
  [
    'config device add RUNNING x foo',
    'Invalid devices: Device validation failed for "x": Failed loading device "x": Unsupported device type',
  ],
  [
    'config device add RUNNING x disk path=/mnt',
    'Invalid devices: Device validation failed for "x": Disk entry is missing the required "source" or "path" property',
  ],
  [
    'config device add RUNNING x disk source=relative path=/mnt',
    'Invalid devices: Device validation failed for "x": Source path must be absolute for local sources',
  ],
  [
    'config device remove RUNNING root',
    'Device from profile(s) cannot be removed from individual instance. Override device or modify profile instead',
  ],
  ['config device override RUNNING root pool=tank', 'Cannot update root disk device pool name to "tank"'],
  ['profile show nope', 'Fetch profile: Profile not found'],
  ['profile delete nope', 'Profile not found'],
  ['profile delete default', 'The "default" profile cannot be deleted'],
  ['profile rename default x', 'The "default" profile cannot be renamed'],
  ['profile create PROFILE', 'Error inserting "PROFILE" into database: The profile already exists'],
  ['profile rename PROFILE default', 'Name "default" already in use'],
  ['profile set PROFILE nope.key 1', 'Unknown configuration key: nope.key'],
  [
    'profile device add PROFILE x nic network=nope',
    'Device validation failed for "x": Failed loading device "x": Failed to load network "nope" for project "default": Network not found',
  ],
  ['profile assign RUNNING nope', 'Profile not found'],
  ['profile add RUNNING default', 'Duplicate profile found in request'],
  ['profile remove RUNNING PROFILE', "Profile PROFILE isn't currently applied to RUNNING"],
  ['storage show nope', 'Storage pool not found'],
  ['storage info default --target nope', 'Cluster member not found'],
  ['storage set default size 1GiB', 'Config key "size" is cluster member specific'],
  ['storage delete default', 'The storage pool is currently in use'],
  ['storage create default dir', 'The storage pool is already created'],
  ['network show nope', 'Network not found'],
  ['network info nope', 'Network interface "nope" not found'],
  ['network list-leases nope', 'Failed loading network: Network not found'],
  ['network delete nope', 'Failed loading network: Network not found'],
  ['network delete lxdbr0', 'The network is currently in use'],
  ['network rename lxdbr0 x', 'Renaming clustered network not supported'],
  ['network set lxdbr0 nope 1', 'Invalid option for network "lxdbr0" option "nope"'],
  [
    'network set lxdbr0 ipv4.nat banana',
    'Invalid value for network "lxdbr0" option "ipv4.nat": Invalid value for a boolean "banana"',
  ],
  ['network create waytoolongnetworkname --target host1', 'Network interface is too long (maximum 15 characters)'],
  ['image info nope', 'Image not found'],
  ['image delete nope', 'Image not found'],
  ['image alias delete nope', 'Image alias not found'],
  ['operation show nope', 'Operation not found'],
  ['query /2.0', 'not found'],
  ['query -X DELETE /1.0/instances/nope', 'Instance not found'],
  ['file pull RUNNING/nope -', 'Not Found'],
  ['cluster show nope', 'Cluster member not found'],
];

const named = (text: string) =>
  text.replaceAll('RUNNING', name).replaceAll('STOPPED', other).replaceAll('PROFILE', profile);

describe('lxc', () => {
  it.each(REFUSED)('%s is refused as by LXD', async (words, refusal) => {
    const { stderr, code } = await lxc(...named(words).split(' '));
    expect({ stderr, code }).toEqual({ stderr: `Error: ${named(refusal)}\n`, code: 1 });
  });

  it.each([
    ['start STOPPED', ''],
    ['pause STOPPED', ''],
    ['start STOPPED', ''],
    ['restart -f STOPPED', ''],
    ['stop -f STOPPED', ''],
    ['config set STOPPED user.words 1', ''],
    ['config get STOPPED user.words', '1\n'],
    ['config unset STOPPED user.words', ''],
    ['config get STOPPED user.words', '\n'],
    ['profile set PROFILE user.a=1', ''],
    ['profile get PROFILE user.a', '1\n'],
    ['profile device add PROFILE x nic network=lxdbr0', 'Device x added to PROFILE\n'],
    ['profile device list PROFILE', 'x\n'],
    ['profile device get PROFILE x network', 'lxdbr0\n'],
    ['profile device remove PROFILE x', 'Device x removed from PROFILE\n'],
    ['profile add STOPPED PROFILE', 'Profile PROFILE added to STOPPED\n'],
    ['profile remove STOPPED PROFILE', 'Profile PROFILE removed from STOPPED\n'],
    ['profile assign STOPPED default,PROFILE', 'Profiles default,PROFILE applied to STOPPED\n'],
    ['profile assign STOPPED default', 'Profiles default applied to STOPPED\n'],
    ['config device override STOPPED root size=200MiB', 'Device root overridden for STOPPED\n'],
    ['config device get STOPPED root size', '200MiB\n'],
    ['config device remove STOPPED root', 'Device root removed from STOPPED\n'],
    ['list STOPPED --format csv -c nt', 'STOPPED,CONTAINER\n'],
  ])('%s is answered as by LXD', async (words, answer) => {
    expect(await lxc(...named(words).split(' '))).toEqual({ stdout: named(answer), stderr: '', code: 0 });
  });
});
