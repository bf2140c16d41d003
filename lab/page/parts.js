// Everything around the lanes, on the page and in the report: counters, the explanation, the ends of
// the table and out9.txt, the wait-for graph, the results.
import {formatDuration} from './pieces.js';

const kSvg = 'http://www.w3.org/2000/svg';
const kTailRows = 12;
const kTailRowsBesideText = 5;
const kTailColumns = 3;
const kTailLines = 10;

// node('p', {class: 'x', text: 'y'}, child...)
export function node(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'text') element.textContent = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function shape(tag, attributes, text) {
  const element = document.createElementNS(kSvg, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function put(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

const formatCount = (count) => count.toLocaleString('en');

export function inList(names) {
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}

const kCounters = [
  {name: 'committed', title: 'Committed', kind: 'committed'},
  {name: 'lost', title: 'Lost', kind: 'lost'},
  {name: 'locked', title: '“Locked” errors'},
  {name: 'waiting', title: 'Waiting now', kind: 'waiting'},
  {name: 'holding', title: 'Has the lock', kind: 'holding'},
  {name: 'longest', title: 'Longest wait'},
];

function countersOf(run) {
  const n = run.ended?.numbers;
  const c = run.counters ?? {};
  const wanted = n?.rows_wanted ?? c.rows_wanted ?? run.rows_wanted ?? 0;
  return {
    committed: `${formatCount(n?.in_database ?? c.committed ?? 0)}/${formatCount(wanted)}`,
    lost: n?.lost ?? c.lost ?? 0,
    locked: n?.locked_errors ?? c.locked_errors ?? 0,
    waiting: n ? 0 : c.waiting ?? 0,
    holding: n ? '–' : c.holding ?? '–',
    longest: formatDuration(n?.longest_wait_ms ?? c.longest_wait_ms ?? 0),
  };
}

// The parts of one run except its lanes. Call `update()` after its data changed.
export class RunParts {
  #run;
  #values = {};

  constructor(run, {head, side}) {
    this.#run = run;
    this.state = node('span', {class: 'run-state'});
    const counters = node('dl', {class: 'counters'});
    for (const {name, title, kind} of kCounters) {
      this.#values[name] = node('dd', {});
      const item = node('div', {class: 'counter', 'data-counter': name});
      if (kind) item.dataset.kind = kind;
      item.append(node('dt', {text: title}), this.#values[name]);
      counters.append(item);
    }
    this.explain = node('p', {class: 'explain'});
    head.querySelector('.run-title').append(this.state);
    head.append(counters, this.explain);
    this.graph = node('figure', {class: 'graph'});
    this.graph.hidden = true;
    this.table = node('div', {class: 'tail tail-table'});
    this.text = node('div', {class: 'tail tail-text'});
    this.text.hidden = true;
    side.append(this.graph, this.text, this.table);
    this.update();
  }

  update() {
    const run = this.#run;
    for (const [name, value] of Object.entries(countersOf(run))) put(this.#values[name], value);
    const lost = run.ended?.numbers.lost ?? run.counters?.lost ?? 0;
    this.#values.lost.parentElement.classList.toggle('bad', lost > 0);
    const state = run.failed ? 'failed' : run.ended?.stopped ? 'stopped' : run.ended ? 'done' : 'running';
    put(this.state, state);
    this.state.dataset.state = state;
    put(this.explain, run.failed ? `${run.failed.error}. ${run.failed.hint ?? ''}`
      : run.ended ? run.ended.sentence : run.explain?.text ?? '');
    this.#showTable(run.table);
    this.#showText(run.text);
    this.#showGraph(run.ended?.graph ?? run.graph);
  }

  #showTable(table) {
    if (table === this.shownTable && table) return;
    this.shownTable = table;
    this.table.hidden = !table && Boolean(this.#run.ended);
    const rows = table?.rows ?? [];
    const total = table?.total ?? 0;
    const head = node('h4', {class: 'tail-title', text: 'Table'});
    head.append(node('span', {text: `${formatCount(total)} ${total === 1 ? 'row' : 'rows'}${table?.from === 'database' ? ', read from the file' : ''}`}));
    const body = node('ol', {class: 'tail-rows'});
    for (const row of rows.slice(this.#run.text ? -kTailRowsBesideText : -kTailRows)) {
      body.append(node('li', {}, ...row.slice(0, kTailColumns).map((value) => node('span', {text: value ?? 'NULL'}))));
    }
    this.table.replaceChildren(head, rows.length ? body : node('p', {class: 'tail-none', text: 'no row yet'}));
  }

  #showText(text) {
    if (!text || text === this.shownText) return;
    this.shownText = text;
    this.text.hidden = false;
    const head = node('h4', {class: 'tail-title', text: 'out9.txt'});
    head.append(node('span', {text: `${text.total} ${text.total === 1 ? 'line' : 'lines'}`}));
    if (text.torn) head.append(node('span', {class: 'torn-count', text: `✕ ${text.torn} torn`}));
    const body = node('ol', {class: 'tail-lines'});
    for (const line of text.lines.slice(-kTailLines)) {
      const isWhole = /^\[[^[\]]*\]$/.test(line) && !line.includes('\uFFFD');
      body.append(node('li', {class: isWhole ? '' : 'torn', text: line || '(empty)'}));
    }
    this.text.replaceChildren(head, body);
  }

  #showGraph(graph) {
    if (graph === this.shownGraph) return;
    this.shownGraph = graph;
    // With one lock and no cycle, the lanes already show who waits.
    const isTelling = graph?.cycle.length > 0 || graph?.edges.some(({resource}) => resource !== 'database');
    if (!isTelling && this.graph.hidden) return;
    this.graph.hidden = false;
    this.graph.replaceChildren(...drawGraph(graph ?? {edges: [], cycle: []}, this.#run.lanes.filter((lane) => lane.role === 'producer').map((lane) => lane.name)));
  }
}

// ---- the wait-for graph

const kGraph = {width: 300, height: 176, node: 21};

function isInCycle(edge, cycle) {
  const at = cycle.indexOf(edge.from);
  return at >= 0 && cycle[(at + 1) % cycle.length] === edge.to;
}

export function graphInWords({edges, cycle}) {
  if (!edges.length) return 'No process waits for another.';
  const words = edges.map(({from, to, resource}) =>
    `${from} waits for ${to} (${resource === 'text' ? 'out9.txt' : resource})`);
  return `${cycle.length ? `Deadlock: ${inList(cycle)} wait for each other. ` : ''}${words.join('; ')}.`;
}

function drawGraph(graph, lanes) {
  const {width, height} = kGraph;
  const shown = lanes.slice(0, 8);
  const svg = shape('svg', {viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': graphInWords(graph)});
  const defs = shape('defs', {});
  for (const name of ['edge', 'cycle']) {
    const id = `tip-${name}-${Math.random().toString(36).slice(2)}`;
    const marker = shape('marker', {id, viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 8, markerHeight: 8,
      markerUnits: 'userSpaceOnUse', orient: 'auto-start-reverse'});
    marker.append(shape('path', {d: 'M0 0 8 4 0 8z', class: `tip-${name}`}));
    defs.append(marker);
    svg.dataset[name] = id;
  }
  svg.append(defs);
  const places = new Map(shown.map((name, i) => {
    if (shown.length < 3) return [name, {x: width / 2 + (shown.length < 2 ? 0 : i ? 96 : -96), y: height / 2}];
    const angle = i / shown.length * 2 * Math.PI - Math.PI / 2;
    return [name, {x: width / 2 + 112 * Math.cos(angle), y: height / 2 + (height / 2 - 26) * Math.sin(angle)}];
  }));
  for (const edge of graph.edges) {
    const from = places.get(edge.from);
    const to = places.get(edge.to);
    if (!from || !to || from === to) continue;
    drawEdge(svg, edge, from, to, isInCycle(edge, graph.cycle));
  }
  for (const [name, {x, y}] of places) {
    const isCaught = graph.cycle.includes(name);
    const group = shape('g', {class: isCaught ? 'graph-node in-cycle' : 'graph-node'});
    if (isCaught) group.append(shape('circle', {cx: x, cy: y, r: kGraph.node + 4, class: 'graph-ring'}));
    group.append(shape('circle', {cx: x, cy: y, r: kGraph.node}),
      shape('text', {x, y: y + 5, 'text-anchor': 'middle'}, name.length > 6 ? `${name.slice(0, 5)}…` : name));
    svg.append(group);
  }
  return [node('h4', {class: 'tail-title', text: 'Who waits for whom'}), svg,
    node('figcaption', {text: graph.cycle.length ? `Deadlock: ${inList(graph.cycle)} wait for each other` : graphInWords(graph)})];
}

function drawEdge(svg, edge, from, to, isCaught) {
  const dx = to.x - from.x;
  const dy = to.y - from.y;
  const length = Math.hypot(dx, dy);
  const bend = Math.min(62, length * 0.3);
  const middle = {x: (from.x + to.x) / 2 + dy / length * bend, y: (from.y + to.y) / 2 - dx / length * bend};
  const cut = (point) => {
    const away = Math.hypot(middle.x - point.x, middle.y - point.y);
    const gap = kGraph.node + (isCaught ? 8 : 4);
    return {x: point.x + (middle.x - point.x) / away * gap, y: point.y + (middle.y - point.y) / away * gap};
  };
  const a = cut(from);
  const b = cut(to);
  const kind = isCaught ? 'cycle' : 'edge';
  svg.append(shape('path', {d: `M${a.x} ${a.y}Q${middle.x} ${middle.y} ${b.x} ${b.y}`, class: `graph-edge ${kind}`,
    'marker-end': `url(#${svg.dataset[kind]})`}));
  const label = {x: (a.x + b.x) / 4 + middle.x / 2, y: (a.y + b.y) / 4 + middle.y / 2};
  svg.append(shape('text', {x: label.x, y: label.y + (dx >= 0 ? -7 : 17), 'text-anchor': 'middle', class: 'graph-label'},
    edge.resource === 'text' ? 'out9.txt' : edge.resource));
}

// ---- the results

function headline(runs) {
  const counted = runs.filter((run) => run.ended && !run.ended.stopped);
  const isWhole = counted.length > 1 && counted.every(({ended: {numbers}}) => !numbers.lost && !numbers.text?.torn);
  const times = isWhole ? ` They took ${inList(counted.map((run) => formatDuration(run.ended.numbers.wall_ms)))}.` : '';
  return runs.map((run) => {
    if (run.failed) return `${run.mode_title} could not be run`;
    const {lost, rows_wanted: wanted, text} = run.ended.numbers;
    if (run.ended.stopped) return `${run.mode_title} was stopped`;
    const torn = text?.torn ? ` and tore ${text.torn} ${text.torn === 1 ? 'line' : 'lines'}` : '';
    return `${run.mode_title} lost ${lost ? `${formatCount(lost)} of ${formatCount(wanted)}` : 'none'}${torn}`;
  }).join('. ') + `.${times}`;
}

const withTime = (process) => (process ? `${process.process}, done after ${formatDuration(process.done_ms)}` : '–');

const kMeasures = [
  ['Rows wanted', (n) => formatCount(n.rows_wanted)],
  ['In the database', (n) => formatCount(n.in_database)],
  ['Lost', (n) => n.lost, (n) => n.lost > 0],
  ['“Database is locked” errors', (n) => n.locked_errors],
  ['Wall time', (n) => formatDuration(n.wall_ms)],
  ['Longest wait for an answer', (n) => formatDuration(n.longest_wait_ms)],
  ['Longest wait for the lock', (n) => formatDuration(n.longest_lock_wait_ms)],
  ['Slowest process', (n) => withTime(n.slowest)],
  ['Fastest process', (n) => withTime(n.fastest)],
  ['Lines of out9.txt', (n) => n.text?.lines],
  ['… torn', (n) => n.text?.torn, (n) => n.text?.torn > 0],
  ['Rows without a line', (n) => n.text?.missing, (n) => n.text?.missing > 0],
  ['Deadlock', (n) => (n.cycle?.length ? inList(n.cycle) : null), (n) => n.cycle?.length > 0],
];

function resultsTable(runs) {
  const table = node('table', {class: 'numbers'});
  table.append(node('caption', {class: 'for-ears', text: 'The modes compared'}));
  const head = node('tr', {}, node('td', {}));
  for (const run of runs) head.append(node('th', {scope: 'col', text: run.mode_title}));
  const body = node('tbody');
  for (const [title, read, isBad] of kMeasures) {
    const values = runs.map((run) => read(run.ended.numbers));
    if (values.every((value) => value === undefined || value === null)) continue;
    const row = node('tr', {}, node('th', {scope: 'row', text: title}));
    values.forEach((value, i) => {
      const cell = node('td', {text: value ?? '–'});
      if (isBad?.(runs[i].ended.numbers)) {
        cell.className = 'bad';
        cell.prepend(node('span', {'aria-hidden': 'true', text: '✕ '}));
      }
      row.append(cell);
    });
    body.append(row);
  }
  const row = node('tr', {}, node('th', {scope: 'row', text: 'Events and database'}));
  for (const {ended} of runs) {
    row.append(ended.agrees ? node('td', {text: 'agree'}) : node('td', {class: 'bad', text: `disagree: ${ended.disagreements.join('; ')}`}));
  }
  body.append(row);
  table.append(node('thead', {}, head), body);
  const scroller = node('div', {class: 'scroller', role: 'region', tabindex: '0', 'aria-label': 'The modes compared'});
  scroller.append(table);
  return scroller;
}

function processesOf(run) {
  const box = node('details', {class: 'processes'});
  box.append(node('summary', {text: `Each process, ${run.mode_title}`}));
  const table = node('table', {class: 'numbers'});
  const titles = ['Process', 'Rows wanted', 'In the database', 'Total wait', 'Longest wait', 'Done after'];
  table.append(node('caption', {class: 'for-ears', text: `Each process, ${run.mode_title}`}),
    node('thead', {}, node('tr', {}, ...titles.map((text) => node('th', {scope: 'col', text})))));
  const body = node('tbody');
  for (const p of run.ended.numbers.processes ?? []) {
    const isShort = p.in_database < p.rows_wanted;
    body.append(node('tr', {}, node('th', {scope: 'row', text: p.process}), node('td', {text: p.rows_wanted}),
      node('td', {text: `${isShort ? '✕ ' : ''}${p.in_database}`, class: isShort ? 'bad' : ''}),
      node('td', {text: formatDuration(p.waited_ms)}), node('td', {text: formatDuration(p.longest_wait_ms)}),
      node('td', {text: p.done_ms ? formatDuration(p.done_ms) : '–'})));
  }
  table.append(body);
  const scroller = node('div', {class: 'scroller', role: 'region', tabindex: '0', 'aria-label': `Each process, ${run.mode_title}`});
  scroller.append(table);
  box.append(scroller);
  return box;
}

// Compares the runs that have ended. Empty if none has.
export function resultsOf(runs) {
  const over = runs.filter((run) => run.ended || run.failed);
  const counted = over.filter((run) => run.ended);
  if (!over.length) return [];
  const parts = [node('p', {class: 'headline', text: headline(over)})];
  if (counted.length) {
    const reasons = node('dl', {class: 'reasons'});
    for (const run of counted) reasons.append(node('div', {}, node('dt', {text: run.mode_title}), node('dd', {text: run.ended.sentence})));
    const beside = node('div', {class: 'results-beside'}, reasons, resultsTable(counted));
    parts.push(beside, ...counted.map(processesOf));
  }
  return parts;
}
