/** The trust store (lxd-api 5.2, 8.1). */
import { CertificatePatch, CertificatePut, CertificatesPost } from '#protocol/api/certificate.ts';
import { forbidden } from '#protocol/errors.ts';
import {
  certificateEtagParts,
  certificateToApi,
  certificateUrl,
  changeTrusted,
  distrust,
  getTrusted,
  listTrusted,
  trustCertificate,
} from '#worker/services/certificates.ts';
import { issueCertificateToken } from '#worker/services/tokens.ts';
import { trustPeer } from '#worker/services/trust.ts';
import { async_, created, sync } from '../envelope.ts';
import { checkIfMatch, etag } from '../etag.ts';
import { type App, route } from '../route.ts';

const tag = 'certificates';
const scope = 'server';
const path = '/1.0/certificates/:fingerprint';

export function certificateRoutes(app: App): void {
  route(
    app,
    {
      method: 'get',
      path: '/1.0/certificates',
      summary: 'Trusted certificates',
      tag,
      answer: 'sync',
      access: 'trusted',
      scope,
    },
    async ({ ctx, recursion }) => {
      const rows = await listTrusted(ctx);
      return sync(recursion > 0 ? rows.map(certificateToApi) : rows.map((row) => certificateUrl(row.fingerprint)));
    },
  );
  route(
    app,
    {
      method: 'post',
      path: '/1.0/certificates',
      summary: 'Trust a certificate, or make a token',
      tag,
      body: CertificatesPost,
      answer: 'created',
      access: 'public',
    },
    async ({ ctx, body, trusted, peer }) => {
      if (!trusted) return created(certificateUrl(await trustPeer(ctx, body, peer)));
      if (ctx.principal.projects !== null) throw forbidden();
      if (body.token) return async_(await issueCertificateToken(ctx, body));
      return created(certificateUrl(await trustCertificate(ctx, body)));
    },
  );
  route(
    app,
    { method: 'get', path, summary: 'One certificate', tag, answer: 'sync', access: 'trusted', scope },
    async ({ ctx, params }) => {
      const row = await getTrusted(ctx, params.fingerprint);
      return sync(certificateToApi(row), { etag: await etag(certificateEtagParts(row)) });
    },
  );
  route(
    app,
    {
      method: 'put',
      path,
      summary: 'Replace what is recorded',
      tag,
      body: CertificatePut,
      answer: 'sync',
      access: 'admin',
      scope,
    },
    async ({ ctx, params, body, ifMatch }) => {
      const row = await getTrusted(ctx, params.fingerprint);
      checkIfMatch(ifMatch, await etag(certificateEtagParts(row)));
      await changeTrusted(ctx, row, body);
      return sync();
    },
  );
  route(
    app,
    {
      method: 'patch',
      path,
      summary: 'Change what is recorded',
      tag,
      body: CertificatePatch,
      answer: 'sync',
      access: 'admin',
      scope,
    },
    async ({ ctx, params, body, ifMatch }) => {
      const row = await getTrusted(ctx, params.fingerprint);
      checkIfMatch(ifMatch, await etag(certificateEtagParts(row)));
      await changeTrusted(ctx, row, body);
      return sync();
    },
  );
  route(
    app,
    { method: 'delete', path, summary: 'Stop trusting a certificate', tag, answer: 'sync', access: 'admin', scope },
    async ({ ctx, params }) => {
      await distrust(ctx, await getTrusted(ctx, params.fingerprint));
      return sync();
    },
  );
}
