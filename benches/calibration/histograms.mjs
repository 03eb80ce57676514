// Do the server and the generator tell the same of one run?
//
// The server measures from the wake for a publish to the write that has the event in it; the generator from when the event was due
// to its receipt. So the generator's is longer by what lies before and behind: how late it published, the way of the request to the
// server, and the way of the event back until a loop of subscribers has come to read it. Of the first it keeps a histogram (send lag);
// both ways, once each, are what an answer takes longer for the publisher (ack) than for the server (answers).

import { grouped, latency, result, startFanfare } from './programs.mjs';

const SUBSCRIBERS = 50;
/** The publisher's loop reads one answer, the subscribers' loop fifty sockets: so as much again may lie behind. */
const WAYS_MAX = 2;

export async function histograms(quick) {
  const server = await startFanfare();
  try {
    const load = ['-c', String(SUBSCRIBERS), '--transport', 'ws:50,sse:50', '-R', '200', '--warmup', '0'];
    const { code, report } = await result('run', server.address, ...load, '-d', quick ? '3s' : '15s', '--lenient');
    const inside = await (await fetch(`${server.admin}/latency`)).json();
    return compare(code, report, inside);
  } finally {
    await server.end();
  }
}

function compare(code, report, inside) {
  const [client, service, ack, lag] = ['e2e', 'service', 'ack', 'send lag'].map((name) => latency(report, name));
  const { deliveries, answers } = inside;
  const ms = (ns) => ns / 1e6;
  const shown = (value) => `${value.toFixed(3)} ms`;
  const pairs = ['p50', 'p90', 'p99'].map((name) => ({ name, server: ms(deliveries[name]), client: client[`${name}_ms`] }));
  const difference = client.p50_ms - ms(deliveries.p50);
  const ways = ack.p50_ms - ms(answers.p50);
  const explained = lag.p50_ms + WAYS_MAX * ways;
  return [
    {
      what: 'the server counts as many deliveries as the generator',
      holds: code === 0 && deliveries.count === client.count && answers.count === ack.count,
      why:
        `${grouped(deliveries.count)} and ${grouped(client.count)} deliveries, ` +
        `${grouped(answers.count)} and ${grouped(ack.count)} answers`,
      figures: { server: deliveries.count, client: client.count },
    },
    {
      what: "the server's percentiles are below the generator's",
      holds: pairs.every((pair) => pair.server <= pair.client),
      why: pairs.map((pair) => `${pair.name} ${shown(pair.server)} and ${shown(pair.client)}`).join(', '),
      figures: { pairs },
    },
    {
      what: 'the difference is explained',
      holds: 0 <= difference && difference <= explained,
      why:
        `p50 differ by ${shown(difference)}: ${shown(lag.p50_ms)} late sent (service p50 ${shown(service.p50_ms)}), ` +
        `there and back ${shown(ways)} (ack ${shown(ack.p50_ms)} less answers ${shown(ms(answers.p50))}), and ` +
        `${shown(difference - lag.p50_ms - ways)} until the loop of ${SUBSCRIBERS} has read; at most ${shown(explained)}`,
      figures: { difference_ms: difference, send_lag_ms: lag.p50_ms, ways_ms: ways, explained_ms: explained },
    },
  ];
}
