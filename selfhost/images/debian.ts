/** The image `debian/12`: a real Debian with systemd, made of Debian's own packages from the mirror that this machine uses. */
import { existsSync } from 'node:fs';
import { rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { run } from '../run.ts';
import { type BuiltImage, ensureImage, hashOf } from './cache.ts';
import { architecture, packMetadata, packRootfs } from './pack.ts';

const SUITE = 'bookworm';
const RELEASE = '12';
const PACKAGES = ['systemd-sysv', 'dbus', 'iproute2', 'udev', 'systemd-resolved', 'iputils-ping'];
const LEFT_OUT = ['/usr/share/doc/*', '/usr/share/man/*', '/usr/share/locale/*', '/usr/share/info/*'];
const FALLBACK_MIRROR = 'http://deb.debian.org/debian';

/** Units that make no sense in a container: the host has the devices, and nothing waits for the network. */
const MASKED = ['systemd-udevd.service', 'systemd-networkd-wait-online.service'];

const NETWORK =
  '[Match]\nName=eth0\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n\n[DHCPv4]\nClientIdentifier=mac\n';

/** The image, from the cache when it was built before; otherwise about a minute and 50 MB of packages. */
export async function ensureDebian(): Promise<BuiltImage & { built: boolean }> {
  const recipe = { SUITE, PACKAGES, LEFT_OUT, MASKED, NETWORK, version: 1 };
  return ensureImage(`debian-${RELEASE}`, hashOf(JSON.stringify(recipe), architecture().debian), async (dir) => {
    const createdAt = Math.floor(Date.now() / 1000);
    await buildTree(path.join(dir, 'rootfs'));
    const day = new Date(createdAt * 1000).toISOString().slice(0, 10).replaceAll('-', '');
    await packMetadata(dir, {
      architecture: architecture().lxd,
      createdAt,
      properties: {
        architecture: architecture().debian,
        description: `Debian ${SUITE} ${architecture().debian} (${day})`,
        os: 'Debian',
        release: SUITE,
        serial: day,
        variant: 'default',
      },
    });
    await packRootfs(dir);
  });
}

async function buildTree(root: string): Promise<void> {
  await run(
    'mmdebstrap',
    [
      ...['--quiet', '--mode=root', '--variant=minbase', `--include=${PACKAGES.join(',')}`],
      ...LEFT_OUT.map((pattern) => `--dpkgopt=path-exclude=${pattern}`),
      ...[SUITE, root, `deb ${await findMirror()} ${SUITE} main`],
    ],
    { timeoutMs: 900_000 },
  );
  await writeFile(path.join(root, 'etc/systemd/network/10-eth0.network'), NETWORK);
  await run('chroot', [root, 'systemctl', 'enable', 'systemd-networkd.service']);
  await run('chroot', [root, 'systemctl', 'mask', ...MASKED]);
  for (const dir of ['var/lib/apt/lists', 'var/cache/apt'])
    await run('find', [path.join(root, dir), '-type', 'f', '-delete']);
  await run('find', [path.join(root, 'dev'), '-mindepth', '1', '-delete']);
  // Empty: each container makes its own at the first boot.
  await writeFile(path.join(root, 'etc/machine-id'), '');
  // The build's own is the mirror's business; names come from resolved, which asks the bridge.
  await rm(path.join(root, 'etc/resolv.conf'), { force: true });
  await symlink('../run/systemd/resolve/stub-resolv.conf', path.join(root, 'etc/resolv.conf'));
}

/** The Debian mirror of this machine's apt; Debian's own address on other systems. */
async function findMirror(): Promise<string> {
  if (process.env.MIRROR) return process.env.MIRROR;
  if (!existsSync('/usr/bin/apt-get')) return FALLBACK_MIRROR;
  const format = ['--format', '$(REPO_URI)', 'Created-By: Packages'];
  const targets = await run('apt-get', ['indextargets', ...format], { allowFailure: true });
  return targets.stdout.split('\n').find((uri) => /\/debian\/?$/.test(uri)) ?? FALLBACK_MIRROR;
}
