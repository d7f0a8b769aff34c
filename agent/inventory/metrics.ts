/** Samples for metrics: told while the control plane asks for them, and not one sweep longer. */
import { type AgentFrame, FRAME_LIMIT_BYTES } from '#protocol/frames.ts';
import { type InstanceMetrics, METRICS_INTERVAL_MS } from '#protocol/metrics.ts';
import type { Host } from '../commands/host.ts';

export interface MetricsTeller {
  /** Samples at once, and then now and then for so long. */
  want(seconds: number): void;
  stop(): void;
}

export interface MetricsTellerDeps {
  host: Pick<Host, 'instances' | 'log'>;
  send(frame: AgentFrame): boolean;
  uptimeSeconds?(): number;
}

/** One sweep at a time: where a file system does not answer, samples stop, and nothing else does. */
export function createMetricsTeller({ host, send, uptimeSeconds = process.uptime }: MetricsTellerDeps): MetricsTeller {
  let untilMs = 0;
  let timer: NodeJS.Timeout | undefined;
  let isSweeping = false;

  const sweep = async () => {
    if (isSweeping) return;
    isSweeping = true;
    try {
      const instances = await host.instances.metrics();
      for (const frame of sampleFrames(instances, Math.floor(uptimeSeconds()))) if (!send(frame)) break;
    } catch (err) {
      host.log.warn('metrics.sweep.failed', { err });
    } finally {
      isSweeping = false;
    }
  };
  const next = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (performance.now() > untilMs) return;
      void sweep();
      next();
    }, METRICS_INTERVAL_MS);
    timer.unref();
  };
  return {
    want: (seconds) => {
      untilMs = performance.now() + seconds * 1000;
      void sweep();
      next();
    },
    stop: () => clearTimeout(timer),
  };
}

/** As many frames as it takes. */
export function sampleFrames(
  instances: readonly InstanceMetrics[],
  uptimeSeconds: number,
  limit: number = FRAME_LIMIT_BYTES / 2,
): AgentFrame[] {
  const parts: InstanceMetrics[][] = [[]];
  let size = 0;
  for (const one of instances) {
    const length = JSON.stringify(one).length;
    if (size > 0 && size + length > limit) {
      parts.push([]);
      size = 0;
    }
    parts.at(-1)?.push(one);
    size += length;
  }
  return parts.map((part, index) => ({
    type: 'metrics',
    first: index === 0,
    last: index === parts.length - 1,
    uptimeSeconds,
    instances: part,
  }));
}
