/** Which image a new instance is made from (lxd-api 6.2). */
import type { InstanceSource } from '#protocol/api/instance.ts';
import { badRequest } from '#protocol/errors.ts';
import type { ImageQuery } from '#worker/state/instance-queries.ts';

/** Throws `bad_request` for sources that this version cannot use, each with its reason. */
export function parseImageQuery(source: InstanceSource): ImageQuery {
  switch (source.type) {
    case 'none':
      return { by: 'none' };
    case 'image':
    case '':
      return parseImage(source);
    case 'copy':
    case 'migration':
      throw badRequest(`Creating instances by ${source.type} is not supported in this version`);
    default:
      throw badRequest(`Unknown source type "${source.type}"`);
  }
}

function parseImage(source: InstanceSource): ImageQuery {
  if (source.server !== '')
    throw badRequest(
      `Images of remote servers are not supported in this version: copy the image into this cluster first (from ${source.server})`,
    );
  if (source.fingerprint !== '') return { by: 'fingerprint', fingerprint: source.fingerprint };
  if (source.alias !== '') return { by: 'alias', alias: source.alias };
  if (Object.keys(source.properties).length > 0) return { by: 'properties', properties: source.properties };
  throw badRequest('Must specify one of alias, fingerprint or properties for init from image');
}
