/**
 * One SFTP session on the files of an instance: SFTP version 3, its `/` being the instance's.
 *
 * Invariants: requests are answered in order. The instance's root is held only while files are open or requests come, so that
 * a client that stays connected, as one that mounts does, keeps no instance from being stopped or deleted.
 */
import { AppError } from '#protocol/errors.ts';
import { CHANNEL_INPUT } from '#protocol/stream.ts';
import type { InstanceRoot } from '../../drivers/instance/driver.ts';
import type { Log } from '../../log.ts';
import type { AgentStream } from '../stream.ts';
import { ACTS, EXTENSIONS, type Reply } from './files.ts';
import { createHandles } from './handles.ts';
import { createPacketCutter, encodePacket, FX, field, readPacket, STATUS, uint32 } from './wire.ts';

const SFTP_VERSION = 3;
/** Between the files of a copied tree nothing is opened anew; after it, nothing is in anybody's way for long. */
const ROOT_IDLE_MS = 1_000;

export interface SftpDeps {
  log: Log;
  /** Opens the root of the instance as it is now, running or not. */
  openRoot(): Promise<InstanceRoot>;
}

export interface SftpSession {
  /** The whole answer to one packet, which comes without its length. Throws for one that says not even what it asks. */
  answer(packet: Buffer): Promise<Buffer>;
  close(): void;
}

export function createSftpSession({ log, openRoot }: SftpDeps): SftpSession {
  const handles = createHandles();
  let root: InstanceRoot | null = null;
  let timer: NodeJS.Timeout | undefined;
  const release = () => {
    clearTimeout(timer);
    root?.close();
    root = null;
  };
  const act = async (kind: number, reader: ReturnType<typeof readPacket>): Promise<Reply> => {
    const wanted = ACTS[kind];
    if (wanted === undefined) throw new AppError('not_implemented', 'Not supported');
    root ??= await openRoot();
    return wanted(root, reader, handles);
  };
  return {
    answer: async (packet) => {
      clearTimeout(timer);
      const reader = readPacket(packet);
      const kind = reader.byte();
      if (kind === FX.init) {
        return encodePacket(FX.version, uint32(SFTP_VERSION), ...EXTENSIONS.flat().map(field));
      }
      const id = uint32(reader.uint32());
      try {
        const reply = await act(kind, reader);
        if (reply === 'ok') return status(id, STATUS.ok, '');
        if (reply === 'end') return status(id, STATUS.eof, 'EOF');
        const [answered, ...parts] = reply;
        return encodePacket(answered, id, ...parts);
      } catch (error) {
        if (error instanceof AppError) return status(id, codeOf(error), error.message);
        log.warn('sftp.request.failed', { kind, err: error });
        return status(id, STATUS.failure, 'Failure');
      } finally {
        if (handles.size === 0) timer = setTimeout(release, ROOT_IDLE_MS);
      }
    },
    close: () => {
      handles.closeAll();
      release();
    },
  };
}

const status = (id: Buffer, code: number, message: string): Buffer =>
  encodePacket(FX.status, id, uint32(code), field(message), field('en'));

function codeOf({ code, message }: AppError): number {
  if (code === 'not_found') return STATUS.noSuchFile;
  if (code === 'not_implemented') return STATUS.unsupported;
  return /^(Permission denied|Operation not permitted)/.test(message) ? STATUS.permissionDenied : STATUS.failure;
}

/** Answers what comes on the stream until its client has gone. */
export async function serveSftp(deps: SftpDeps, stream: AgentStream): Promise<void> {
  const session = createSftpSession(deps);
  const cut = createPacketCutter();
  try {
    await stream.started;
    for (let bytes = await stream.read(); bytes !== null; bytes = await stream.read()) {
      for (const packet of cut(bytes)) await stream.send(CHANNEL_INPUT, await session.answer(packet));
    }
  } finally {
    session.close();
    await stream.close();
  }
}
