/** Bodies of the image and alias endpoints (lxd-api 5.5). Uploads are no JSON and have none. */
import { z } from 'zod';
import { config, flag, optional, strings, text } from './common.ts';

/** `POST /1.0/images` with a JSON body: publish, copy from a server, or from a URL. */
export const ImagesPost = z
  .object({
    source: z
      .object({ type: text(), mode: text(), protocol: text(), server: text(), url: text(), name: text() })
      .nullish()
      .transform((value) => value ?? null),
  })
  .meta({ id: 'ImagesPost', description: 'A new image from another place' });
export type ImagesPost = z.infer<typeof ImagesPost>;

const time = () => text().refine((value) => value === '' || !Number.isNaN(Date.parse(value)), 'Invalid time');

export const ImagePut = z
  .object({ auto_update: flag(), properties: config(), public: flag(), expires_at: time(), profiles: strings() })
  .meta({ id: 'ImagePut', description: 'The writable part of an image' });
export type ImagePut = z.infer<typeof ImagePut>;

export const ImagePatch = z
  .object({
    auto_update: optional(z.boolean()),
    properties: config(),
    public: optional(z.boolean()),
    expires_at: optional(time()),
    profiles: optional(z.array(z.string())),
  })
  .meta({ id: 'ImagePatch', description: 'Changes of an image; properties are merged' });
export type ImagePatch = z.infer<typeof ImagePatch>;

export const ImageAliasesPost = z.object({ name: text(), description: text(), target: text(), type: text() }).meta({
  id: 'ImageAliasesPost',
  description: 'A new name for an image; `target` is a fingerprint or a unique beginning of one',
  example: { name: 'debian/12', target: '4d2c0ffee9ab', description: '' },
});
export type ImageAliasesPost = z.infer<typeof ImageAliasesPost>;

export const ImageAliasPut = z
  .object({ description: text(), target: text() })
  .meta({ id: 'ImageAliasPut', description: 'The writable part of an image alias' });
export type ImageAliasPut = z.infer<typeof ImageAliasPut>;

export const ImageAliasPatch = z
  .object({ description: optional(z.string()), target: optional(z.string()) })
  .meta({ id: 'ImageAliasPatch', description: 'Changes of an image alias' });
export type ImageAliasPatch = z.infer<typeof ImageAliasPatch>;

export const ImageAliasPost = z
  .object({ name: text() })
  .meta({ id: 'ImageAliasPost', description: 'A new name for an image alias' });
export type ImageAliasPost = z.infer<typeof ImageAliasPost>;
