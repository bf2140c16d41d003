// Simulated runs: a small model of lock and queue makes segments by lane, and from them the messages of
// the stream (lab/HTTP.md). For cases that real processes do not produce on demand: a deadlock, a crash,
// 12,800 rows.

export function dice(seed) {  // mulberry32
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const kPets = [['Ace', 'Bella'], ['Emma', 'Coco'], ['Max', 'Luna']];
const kTurnMs = 0.6;  // duration of a commit without a task

function rowsOf({scenario, settings}) {
  if (scenario === 'quick' || scenario === 'slow' || scenario === 'crash') return kPets;
  const digits = settings.processes > 9 ? 2 : 1;
  return Array.from({length: settings.processes}, (_, p) => Array.from({length: settings.rows},
    (__, r) => `C${String(p + 1).padStart(digits, '0')}-${r + 1}`));
}

const nameOf = (scenario, p, of) => (scenario === 'crowd' ? `C${String(p + 1).padStart(of > 9 ? 2 : 1, '0')}` : `P${p + 1}`);

function direct(work, random) {
  const rows = rowsOf(work);
  const names = rows.map((_, p) => nameOf(work.scenario, p, rows.length));
  const lanes = names.map((name, p) => ({name, role: 'producer', rows_wanted: rows[p].length}));
  const segments = lanes.map(() => []);
  const {task_duration_ms: task, busy_timeout_ms: timeout} = work.settings;
  const left = rows.map((list, p) => ({p, list, next: 0, since: p * 0.4 + random(), waits: p * 0.4 + random() + 0.3}));
  let time = 1;
  let last = null;
  for (;;) {
    const wanting = left.filter((process) => process.next < process.list.length);
    if (!wanting.length) break;
    const ready = wanting.filter((process) => process.since <= time);
    if (!ready.length) {
      time = Math.min(...wanting.map((process) => process.since));
      continue;
    }
    // The last holder usually gets the lock again, because the others sleep between their tries.
    const again = ready.includes(last) && task === 0 && random() < 0.9;
    const winner = again ? last : ready[Math.floor(random() * ready.length)];
    const from = time;
    const until = from + task + kTurnMs * (0.5 + random());
    const row = winner.list[winner.next];
    const lane = segments[winner.p];
    const begun = Math.min(from, winner.since + 0.3);
    lane.push(['t', winner.since, begun, row]);
    if (from > begun) lane.push(['w', begun, from, row, last ? names[last.p] : '']);
    lane.push(['h', from, until, row], ['c', until, until, row]);
    winner.next += 1;
    winner.since = until + 0.05;
    for (const process of wanting) {
      if (process === winner) continue;
      while (process.next < process.list.length && process.since + timeout <= until) {
        const at = process.since + timeout;
        const lost = process.list[process.next];
        segments[process.p].push(['t', process.since, process.since + 0.3, lost],
          ['w', process.since + 0.3, at, lost, names[winner.p]],
          ['l', at, at, lost, names[winner.p], 'database is locked']);
        process.next += 1;
        process.since = at + 0.05;
      }
    }
    last = winner;
    time = until + 0.02;
  }
  return {lanes, segments};
}

function queued(work, random) {
  const rows = rowsOf(work);
  const names = rows.map((_, p) => nameOf(work.scenario, p, rows.length));
  const lanes = [...names.map((name, p) => ({name, role: 'producer', rows_wanted: rows[p].length})), {name: 'consumer', role: 'consumer'}];
  const segments = lanes.map(() => []);
  const consumer = segments.at(-1);
  const task = work.settings.task_duration_ms;
  const left = rows.map((list, p) => ({p, list, next: 0, since: p * 0.3 + random()}));
  let time = 3;
  for (;;) {
    const wanting = left.filter((process) => process.next < process.list.length);
    if (!wanting.length) break;
    const group = task > 0 ? wanting.slice().sort((a, b) => a.since - b.since).slice(0, 1)
      : wanting.filter(() => random() < 0.8);
    if (!group.length) continue;
    const until = time + task + kTurnMs * (2 + 4 * random());
    const row = group[0].list[group[0].next];
    const label = group.length > 1 ? `${row} +${group.length - 1}` : row;
    consumer.push(['t', time - 0.2, time, label], ['h', time, until, label], ['c', until, until, label]);
    for (const process of group) {
      const name = process.list[process.next];
      segments[process.p].push(['w', process.since, until + 0.2, name, 'queue'], ['a', until + 0.2, until + 0.2, name]);
      process.next += 1;
      process.since = until + 0.3;
    }
    time = until + 0.5;
  }
  return {lanes, segments};
}

function deadlock(work) {
  if (work.mode === 'queued') {
    return {lanes: [{name: 'A', role: 'producer', rows_wanted: 1}, {name: 'B', role: 'producer', rows_wanted: 1}, {name: 'consumer', role: 'consumer'}],
      segments: [[['w', 1, 9, 'A-1', 'queue'], ['a', 9, 9, 'A-1']], [['w', 2, 9, 'B-1', 'queue'], ['a', 9, 9, 'B-1']],
        [['h', 3, 8, 'A-1 +1'], ['c', 8, 8, 'A-1 +1']]]};
  }
  const end = 60 + work.settings.busy_timeout_ms;
  return {
    lanes: [{name: 'A', role: 'producer', rows_wanted: 1}, {name: 'B', role: 'producer', rows_wanted: 1}],
    segments: [
      [['t', 1, 2, 'A-1'], ['h', 2, 50, 'A-1'], ['w', 50, end, 'A-1', 'B'], ['h', end, end + 90, 'A-1'], ['c', end + 90, end + 90, 'A-1']],
      [['t', 1, 3, 'B-1'], ['h', 3, 60, 'B-1'], ['w', 60, end, 'B-1', 'A'], ['l', end, end, 'B-1', 'A', 'database is locked']],
    ],
    graphs: [
      {at_ms: 50, edges: [{from: 'A', to: 'B', resource: 'text'}], cycle: []},
      {at_ms: 60, edges: [{from: 'A', to: 'B', resource: 'text'}, {from: 'B', to: 'A', resource: 'database'}], cycle: ['A', 'B']},
      {at_ms: end, edges: [], cycle: []},
    ],
  };
}

function crash(work, random) {
  const made = work.mode === 'queued' ? queued(work, random) : direct(work, random);
  const lane = made.segments[work.mode === 'queued' ? made.lanes.length - 1 : 0];
  const hold = lane.find(([kind, from]) => kind === 'h' && from >= 0);
  const at = (hold[1] + hold[2]) / 2;
  const after = lane.filter(([, from]) => from > hold[2]);
  lane.splice(0, lane.length, ...lane.filter(([, , to]) => to <= hold[1]), ['h', hold[1], at, hold[3]], ['x', at, at, hold[3]],
    ...(work.mode === 'queued' ? after : []));
  return made;
}

// One run: its `run` data, all its segments, and the messages of the stream, [{at_ms, event, data}].
export function simulate(work, number, seed) {
  const random = dice(seed);
  const model = {deadlock, crash}[work.scenario] ?? (work.mode === 'queued' ? queued : direct);
  const {lanes, segments, graphs = []} = model(work, random);
  const run = {
    run: number, scenario: work.scenario, title: work.title, mode: work.mode,
    mode_title: {direct: 'Direct', immediate: 'BEGIN IMMEDIATE', queued: 'Through the queue'}[work.mode],
    settings: work.settings, rows_wanted: lanes.reduce((sum, lane) => sum + (lane.rows_wanted ?? 0), 0), lanes,
  };
  const ordered = segments.flatMap((list, lane) => list.map((segment) => [lane, segment])).sort((a, b) => a[1][2] - b[1][2]);
  return {run, segments, messages: messagesOf(run, ordered, graphs, work)};
}

const kTextLines = Array.from({length: 48}, (_, i) => `[${1000 + i}, Protein, G, ${203 + i}, 600, ${10 + i % 12}:45]`);

function messagesOf(run, ordered, graphs, work) {
  const messages = [{at_ms: 0, event: 'run', data: run}];
  const end = ordered.at(-1)[1][2];
  const isQueued = run.mode === 'queued';
  const done = isQueued ? 'a' : 'c';
  const commits = [];
  let sent = 0;
  let lost = 0;
  let longest = 0;
  let explained = '';
  const beginnings = ordered.slice().sort((a, b) => a[1][1] - b[1][1]);
  let begun = 0;
  let underWay = [];
  for (let now = Math.min(100, end); ; now = Math.min(now + 100, end)) {
    const news = [];
    for (; sent < ordered.length && ordered[sent][1][2] <= now; ++sent) {
      const [lane, segment] = ordered[sent];
      news.push([lane, segment]);
      if (segment[0] === done) commits.push([segment[3], run.lanes[lane].name]);
      if (segment[0] === 'l') ++lost;
      if (segment[0] === 'w') longest = Math.max(longest, segment[2] - segment[1]);
    }
    for (; begun < beginnings.length && beginnings[begun][1][1] < now; ++begun) underWay.push(beginnings[begun]);
    underWay = underWay.filter(([, segment]) => segment[2] > now);
    const open = underWay.map(([lane, [kind, from, , row, holder]]) => [lane, [kind, from, now, row, ...holder ? [holder] : []]]);
    const waiting = open.filter(([, [kind]]) => kind === 'w');
    const holding = open.find(([, [kind]]) => kind === 'h');
    const push = (event, data) => messages.push({at_ms: now, event, data: {run: run.run, ...data}});
    push('segments', {now_ms: now, done: news, open});
    push('counters', {now_ms: now, rows_wanted: run.rows_wanted, tried: begun, committed: commits.length, lost, locked_errors: lost,
      waiting: waiting.length, holding: holding ? run.lanes[holding[0]].name : null, longest_wait_ms: longest});
    if (run.scenario === 'stream') {
      const lines = kTextLines.slice(0, 6 + commits.length % 30);
      const torn = isQueued ? 0 : 3;
      if (torn) lines.splice(-3, 2, '[1007, Pro045]', '0, 10:45], 203, 600, 1');
      push('text', {lines: lines.slice(-12), total: lines.length, torn});
    }
    push('table', {columns: ['row', 'process'], rows: commits.slice(-12), total: commits.length, from: now === end ? 'database' : 'events'});
    const loss = news.find(([, [kind]]) => kind === 'l');
    const text = loss ? `${run.lanes[loss[0]].name} lost ${loss[1][3]}: ${loss[1][5]}, ${loss[1][4]} held the lock.`
      : holding && waiting.length ? `${waiting.length} wait: ${run.lanes[holding[0]].name} holds the database for ${holding[1][3]}.` : explained;
    if (text !== explained) push('explain', {text});
    explained = text;
    for (const graph of graphs) if (graph.at_ms <= now && graph.at_ms > now - 100) push('graph', graph);
    if (now === end) break;
  }
  const processes = run.lanes.filter(({role}) => role === 'producer').map(({name, rows_wanted}) => ({
    process: name, rows_wanted, in_database: commits.filter(([, process]) => process === name).length,
    waited_ms: end / 2, longest_wait_ms: longest, done_ms: end,
  }));
  const numbers = {
    rows_wanted: run.rows_wanted, in_database: commits.length, lost: run.rows_wanted - commits.length, locked_errors: lost,
    wall_ms: end, longest_wait_ms: longest, longest_lock_wait_ms: longest, most_turns_of_others: 3,
    slowest: processes.at(-1), fastest: processes[0], processes,
    text: run.scenario === 'stream' ? {lines: 48, intact: isQueued ? 48 : 45, torn: isQueued ? 0 : 3, missing: 0} : null,
    cycle: graphs.find(({cycle}) => cycle.length)?.cycle ?? [],
  };
  const sentence = numbers.lost
    ? `${numbers.lost} of ${numbers.rows_wanted} rows lost: only one process can hold the lock, for ${work.settings.task_duration_ms} ms each time; a process that waits longer than the busy timeout of ${work.settings.busy_timeout_ms} ms gets "database is locked", and its row is lost.`
    : `All ${numbers.rows_wanted} rows arrived: each row waits for its turn in the queue; only the consumer takes the lock.`;
  messages.push({at_ms: end, event: 'ended', data: {run: run.run, numbers, sentence, agrees: true, disagreements: [], stopped: false,
    graph: graphs.find(({cycle}) => cycle.length) ?? null}});
  return messages;
}
