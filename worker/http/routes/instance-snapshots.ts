/**
 * Snapshots, backups and the rest that stock clients ask about and this version does not have: lists are empty,
 * single ones are not found, and making one is refused with a text that says so.
 */
import { AppError } from '#protocol/errors.ts';
import { getInstance } from '#worker/services/instances.ts';
import { sync } from '../envelope.ts';
import { type App, route } from '../route.ts';
import { INSTANCE_PREFIXES, requirePrefix } from './instance-prefix.ts';

const COLLECTIONS = [
  { path: 'snapshots', what: 'Snapshots', missing: 'Instance snapshot not found' },
  { path: 'backups', what: 'Backups', missing: 'Load backup from database: Instance backup not found' },
] as const;

const REFUSED = [
  { method: 'delete', path: 'console', what: 'Emptied console logs' },
  { method: 'get', path: 'sftp', what: 'SFTP connections', changes: true },
  { method: 'post', path: 'rebuild', what: 'Rebuilding instances' },
  { method: 'put', path: 'metadata', what: 'Image metadata changes' },
  { method: 'patch', path: 'metadata', what: 'Image metadata changes' },
  { method: 'get', path: 'metadata/templates', what: 'Image templates' },
  { method: 'post', path: 'metadata/templates', what: 'Image templates' },
  { method: 'delete', path: 'metadata/templates', what: 'Image templates' },
] as const;

const unsupported = (what: string) => new AppError('not_implemented', `${what} are not supported in this version`);

export function instanceSnapshotRoutes(app: App): void {
  for (const prefix of INSTANCE_PREFIXES) {
    const shared = { tag: 'instances', access: 'trusted', answer: 'sync' } as const;

    for (const { path, what, missing } of COLLECTIONS) {
      const collection = `/1.0/${prefix}/:name/${path}` as const;
      route(
        app,
        { ...shared, method: 'get', path: collection, summary: `List ${path}` },
        async ({ ctx, params, project }) => {
          requirePrefix(prefix);
          await getInstance(ctx, project, params.name);
          return sync([]);
        },
      );
      route(
        app,
        { ...shared, method: 'post', path: collection, summary: `Refused: ${what} are not supported` },
        async ({ ctx, params, project }) => {
          requirePrefix(prefix);
          await getInstance(ctx, project, params.name);
          throw unsupported(what);
        },
      );
      for (const method of ['get', 'put', 'patch', 'post', 'delete'] as const) {
        route(
          app,
          { ...shared, method, path: `${collection}/:item`, summary: `No ${path} exist` },
          async ({ ctx, params, project }) => {
            requirePrefix(prefix);
            await getInstance(ctx, project, params.name);
            throw new AppError('not_found', missing);
          },
        );
      }
    }

    for (const { path, what, ...own } of REFUSED) {
      route(
        app,
        { ...shared, ...own, path: `/1.0/${prefix}/:name/${path}` as const, summary: `Refused: ${what}` },
        async ({ ctx, params, project }) => {
          requirePrefix(prefix);
          await getInstance(ctx, project, params.name);
          throw unsupported(what);
        },
      );
    }
  }
}
