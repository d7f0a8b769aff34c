/** pylxd 2.2 of Debian, unmodified: what scripts do with it. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '#selfhost/run.ts';
import { cluster, newName, newNames, removeInstances } from '../support.ts';

const [name = '', other = ''] = newNames('pylxd', 2);
afterAll(() => removeInstances([name, other]));

const certificate = join(cluster.lxdConf, 'servercerts/longshore.crt');
/** `client` is connected, `answer(value)` tells the test. */
const PRELUDE = `
import json, ssl, sys, pylxd
conf, port, name, other = sys.argv[1:5]
pair = (conf + '/client.crt', conf + '/client.key')
client = pylxd.Client(endpoint='https://127.0.0.1:' + port, cert=pair, timeout=(5, 60))
answer = lambda value: print(json.dumps(value))
`;

/** Runs the lines with Debian's own Python; resolves to their answer. Throws the end of the traceback. */
async function python(lines: string): Promise<unknown> {
  const args = ['-W', 'ignore', '-c', PRELUDE + lines, cluster.lxdConf, String(cluster.port), name, other];
  // The library's own argument gives way to this variable where a machine has it.
  const env = { REQUESTS_CA_BUNDLE: certificate };
  return JSON.parse((await run('/usr/bin/python3', args, { env })).stdout);
}

describe('pylxd', () => {
  it('finds the cluster trusted, with its members', async () => {
    const answer = await python(`
members = [[member.server_name, member.status] for member in client.cluster.members.all()]
answer([client.trusted, client.has_api_extension('clustering'), members])`);
    const online = ['host1', 'host2', 'host3'].map((host) => [host, 'Online']);
    expect(answer).toEqual([true, true, expect.arrayContaining(online)]);
  });

  it('creates an instance on a member and tells what exists', async () => {
    const answer = await python(`
config = {'name': name, 'source': {'type': 'image', 'alias': 'tiny'}, 'config': {'user.a': 'b'}}
made = client.containers.create(config, wait=True, target='host3')
answer([made.status, made.location, made.config['user.a'],
        client.containers.exists(name), client.containers.exists(other)])`);
    expect(answer).toEqual(['Stopped', 'host3', 'b', true, false]);
  });

  it('follows an instance from state to state by events', async () => {
    const answer = await python(`
from pylxd.client import EventType, _WebsocketClient
class Listener(_WebsocketClient):
    def __init__(self, url):
        super().__init__(url, ssl_options={'certfile': pair[0], 'keyfile': pair[1], 'cert_reqs': ssl.CERT_NONE})
    def handshake_ok(self):
        self.messages = []
events = client.events(websocket_client=Listener, event_types={EventType.Lifecycle})
events.connect()
instance = client.containers.get(name)
seen = []
for act in (instance.start, instance.freeze, instance.unfreeze):
    act(wait=True)
    seen.append(instance.status)
instance.restart(wait=True, force=True)
seen.append(instance.status)
state = instance.state()
actions = lambda: [m['metadata']['action'] for m in events.messages
                   if m.get('type') == 'lifecycle' and m['metadata']['source'].endswith('/' + name)]
events.sock.settimeout(20)
while 'instance-restarted' not in actions():
    events.once()
events.close_connection()
answer([seen, state.status, state.pid > 0, 'eth0' in state.network, actions()])`);
    const actions = ['instance-started', 'instance-paused', 'instance-resumed', 'instance-restarted'];
    expect(answer).toEqual([
      ['Running', 'Frozen', 'Running', 'Running'],
      'Running',
      true,
      true,
      expect.arrayContaining(actions),
    ]);
  });

  it('runs programs: exit code, both outputs, input, environment, and output of megabytes', async () => {
    const answer = await python(`
instance = client.containers.get(name)
code = instance.execute(['sh', '-c', 'echo out; echo err >&2; exit 3'])
answer([list(code),
        instance.execute(['cat'], stdin_payload='from outside').stdout,
        instance.execute(['sh', '-c', 'echo $COLOUR'], environment={'COLOUR': 'blue'}).stdout,
        len(instance.execute(['sh', '-c', 'head -c 3000000 /dev/zero | tr "\\\\0" x']).stdout),
        instance.execute(['no-such-program']).exit_code])`);
    expect(answer).toEqual([[3, 'out\n', 'err\n'], 'from outside', 'blue\n', 3_000_000, 127]);
  });

  it('is not kept waiting by connections of programs that have ended', async () => {
    const started = Date.now();
    const answer = await python(`
instance = client.containers.get(name)
answer([instance.execute(['echo', str(number)]).stdout for number in range(8)])`);
    expect(answer).toEqual(Array.from({ length: 8 }, (_, number) => `${number}\n`));
    // Each would stay for another 10 s.
    expect(Date.now() - started).toBeLessThan(70_000);
  });

  it('puts files with mode and owner, a tree of them, and gets and deletes them', async () => {
    const answer = await python(`
import os, tempfile
instance = client.containers.get(name)
instance.files.put('/root/bytes', b'\\x00\\xff', mode=0o640, uid=5, gid=6)
there = instance.execute(['stat', '-c', '%a %u %g', '/root/bytes']).stdout
back = list(instance.files.get('/root/bytes'))
with tempfile.TemporaryDirectory() as tree:
    os.mkdir(tree + '/sub')
    with open(tree + '/sub/leaf', 'w') as leaf:
        leaf.write('leaf')
    instance.files.recursive_put(tree, '/root/tree')
leaf = instance.files.get('/root/tree/sub/leaf').decode()
instance.files.delete('/root/bytes')
try:
    instance.files.get('/root/bytes')
except pylxd.exceptions.NotFound as error:
    answer([there, back, leaf, str(error)])`);
    expect(answer).toEqual(['640 5 6\n', [0, 255], 'leaf', 'Not Found']);
  });

  it('saves config, renames and deletes an instance', async () => {
    const answer = await python(`
instance = client.containers.get(name)
instance.config['limits.memory'] = '64MiB'
instance.save(wait=True)
saved = client.containers.get(name).config['limits.memory']
instance.stop(wait=True, force=True)
instance.rename(other, wait=True)
names = [client.containers.exists(name), client.containers.exists(other)]
client.containers.get(other).delete(wait=True)
answer([saved, names, client.containers.exists(other)])`);
    expect(answer).toEqual(['64MiB', [false, true], false]);
  });

  it('makes, changes, renames and deletes a profile', async () => {
    const [profile = '', renamed = ''] = newNames('pylxd-profile', 2);
    const answer = await python(`
profile = client.profiles.create('${profile}', config={'user.a': 'b'}, devices={})
profile.description = 'from Python'
profile.config['user.c'] = 'd'
profile.save()
profile = client.profiles.get('${profile}')
seen = [profile.description, profile.config]
profile.rename('${renamed}')
client.profiles.get('${renamed}').delete()
answer([seen, client.profiles.exists('${renamed}')])`);
    expect(answer).toEqual([['from Python', { 'user.a': 'b', 'user.c': 'd' }], false]);
  });

  it('brings an image, gets the same bytes back and deletes it', async () => {
    const answer = await python(`
import hashlib, io, tarfile, time
bytes = io.BytesIO()
with tarfile.open(fileobj=bytes, mode='w') as archive:
    metadata = f'architecture: x86_64\\ncreation_date: {int(time.time())}\\n'.encode()
    entry = tarfile.TarInfo('metadata.yaml')
    entry.size = len(metadata)
    archive.addfile(entry, io.BytesIO(metadata))
    rootfs = tarfile.TarInfo('rootfs')
    rootfs.type = tarfile.DIRTYPE
    archive.addfile(rootfs)
content = bytes.getvalue()
image = client.images.create(content, wait=True)
image.add_alias(name, 'from Python')
same = client.images.get_by_alias(name)
back = same.export().read()
image.delete(wait=True)
answer([image.fingerprint == hashlib.sha256(content).hexdigest(), back == content, client.images.exists(name, alias=True)])`);
    expect(answer).toEqual([true, true, false]);
  });

  it('lists pools, networks and certificates', async () => {
    const answer = await python(`
answer([[pool.name for pool in client.storage_pools.all()],
        client.networks.get('lxdbr0').managed,
        len(client.certificates.all()) > 0])`);
    expect(answer).toEqual([expect.arrayContaining(['default', 'tank']), true, true]);
  });

  it('hears LXD’s own words when something is refused', async () => {
    const answer = await python(`
try:
    client.containers.create({'name': 'no_such_name!', 'source': {'type': 'none'}}, wait=True)
except pylxd.exceptions.LXDAPIException as error:
    answer([error.response.status_code, str(error)])`);
    expect(answer).toEqual([400, expect.stringContaining('Invalid instance name')]);
  });
});

describe('pylxd on a member', () => {
  const local = newName('pylxd-local');
  afterAll(() => removeInstances([local]));
  beforeAll(async () => {
    expect((await cluster.lxc(['launch', 'tiny', local, '--target', 'host2'])).code).toBe(0);
  });

  it('uses the unix socket with nothing set up', async () => {
    const script = `
import json, pylxd
client = pylxd.Client()
instance = client.containers.get('${local}')
result = instance.execute(['hostname'])
print(json.dumps([client.trusted, instance.status, list(result)]))`;
    const { stdout } = await cluster.host(2).exec(['/usr/bin/python3', '-W', 'ignore', '-c', script]);
    expect(JSON.parse(stdout)).toEqual([true, 'Running', [0, `${local}\n`, '']]);
  });
});
