// The live page: sends the user's choices to the server, and shows its events. HTTP.md describes both.
import {mountLanes} from './lanes.js';
import {node, resultsOf, RunParts} from './parts.js';

const kModeOrder = ['direct', 'immediate', 'queued'];
const kSayEvery = 4000;     // ms between two sentences for screen readers
const kReconnect = 2000;    // ms

const byId = (id) => document.getElementById(id);
const token = tokenOfAddress();

// The token is in the fragment of the address that `turnstile lab serve` prints: a browser never sends
// fragments. sessionStorage keeps it for a reload, because the page changes the fragment.
function tokenOfAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given) sessionStorage.setItem('turnstile-token', given);
  return given ?? sessionStorage.getItem('turnstile-token') ?? '';
}

const scenarios = new Map();
let settingInfos = [];
let chosen = null;           // scenario
let isAsked = false;         // runs were requested, and the server has not sent `idle` yet
const runs = new Map();      // by number, in order of arrival
const partsOf = new WeakMap();

const lanes = mountLanes(byId('lanes'), {
  decorate: (run, parts) => partsOf.set(run, new RunParts(run, parts)),
});

async function ask(path, body) {
  const answer = await fetch(path, body === undefined ? {} : {
    method: 'POST',
    headers: {'Content-Type': 'application/json', 'Turnstile-Token': token},
    body: JSON.stringify(body),
  });
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  const hint = answer.status === 403 ? ' Open the whole address that the running `turnstile lab serve` printed.' : '';
  throw new Error(`${said.error ?? `The lab answered ${answer.status}`}.${hint}`.replace('..', '.'));
}

function showTrouble(text) {
  const trouble = byId('trouble');
  trouble.hidden = !text;
  trouble.textContent = text;
}

// ---- the user's choices

function radio(name, value, isChecked, ...content) {
  const input = node('input', {type: 'radio', name, value});
  input.checked = isChecked;
  return node('label', {class: 'choice'}, input, node('span', {class: 'choice-face'}, ...content));
}

function showScenarios() {
  const asked = decodeURIComponent(location.hash.slice(1));
  const first = scenarios.get(asked) ?? scenarios.get('slow') ?? scenarios.values().next().value;
  byId('scenarios').replaceChildren(...[...scenarios.values()].map((scenario) =>
    radio('scenario', scenario.name, scenario === first, scenario.name)));
  choose(first);
}

function choose(scenario) {
  chosen = scenario;
  byId('title').textContent = scenario.title;
  byId('about').textContent = scenario.about;
  byId('claim').textContent = scenario.claim;
  const all = scenario.modes.length === 2 ? 'Both' : 'All';
  byId('modes').replaceChildren(
    ...scenario.modes.map(({name, title}) => radio('mode', name, false, title)),
    radio('mode', 'all', true, all));
  byId('settings').replaceChildren(...settingInfos
    .filter(({name}) => scenario.adjustable.includes(name)).map((info) => settingField(info, scenario)));
  byId('settings-box').hidden = !scenario.adjustable.length;
  showEmpty();
}

function settingField(info, scenario) {
  const value = scenario.settings[info.name];
  const id = `setting-${info.name}`;
  let input;
  if (info.type === 'choice') {
    input = node('select', {id, name: info.name}, ...info.choices.map((text) => node('option', {value: text, text})));
  } else {
    input = node('input', {id, name: info.name, type: 'number', min: info.min, max: info.max, step: 1,
      required: '', inputmode: 'numeric'});
  }
  input.value = value;
  const label = node('label', {for: id, text: info.title});
  const field = node('div', {class: 'setting'}, label, input);
  if (info.unit) field.append(node('span', {class: 'unit', text: info.unit}));
  return field;
}

function chosenRun() {
  const form = new FormData(byId('setup'));
  const mode = form.get('mode');
  const settings = {};
  for (const {name, type} of settingInfos) {
    if (chosen.adjustable.includes(name)) settings[name] = type === 'choice' ? form.get(name) : Number(form.get(name));
  }
  return {
    scenario: chosen.name,
    modes: mode === 'all' ? chosen.modes.map(({name}) => name) : [mode],
    settings,
  };
}

function showEmpty() {
  const seconds = Math.max(1, Math.round(chosen.takes_ms / 1000));
  byId('empty').textContent = `Nothing has run yet. Run starts real processes on this machine; all modes take about ${seconds} s.`;
  byId('empty').hidden = runs.size > 0;
}

byId('setup').addEventListener('submit', async (event) => {
  event.preventDefault();
  if (isRunning() || !chosen) return;
  showTrouble('');
  isAsked = true;
  showRunning();
  try {
    await ask('/api/run', chosenRun());
    bringLanesIntoView();
  } catch (error) {
    isAsked = false;
    showRunning();
    showTrouble(error.message);
  }
});

byId('stop').addEventListener('click', async () => {
  if (!isRunning()) return;
  try {
    await ask('/api/stop', {});
  } catch (error) {
    showTrouble(error.message);
  }
});

byId('scenarios').addEventListener('change', (event) => {
  choose(scenarios.get(event.target.value));
  history.replaceState(null, '', `#${event.target.value}`);
});

const currentRun = () => [...runs.values()].find((run) => !run.ended && !run.failed);
const isRunning = () => isAsked || currentRun() !== undefined;  // another page may have started it

// On a small screen the lanes are below the choices.
function bringLanesIntoView() {
  if (byId('stage').getBoundingClientRect().top < window.innerHeight * 0.55) return;
  const isCalm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  byId('stage').scrollIntoView({behavior: isCalm ? 'auto' : 'smooth', block: 'start'});
}

function showRunning() {
  const running = isRunning();
  // Not `disabled`, which would lose the focus.
  byId('run').setAttribute('aria-disabled', running);
  byId('stop').setAttribute('aria-disabled', !running);
  document.body.classList.toggle('is-running', running);
  const current = currentRun();
  byId('progress').textContent = !running ? '' : current ? `Running: ${current.mode_title}` : 'Starting…';
}

// ---- the server's events

// The latest run of each mode of the latest scenario, so that modes run one by one appear together.
function shownRuns() {
  return [...runs.values()].sort((a, b) => kModeOrder.indexOf(a.mode) - kModeOrder.indexOf(b.mode) || a.run - b.run);
}

let isShowing = false;
function show() {
  if (isShowing) return;
  isShowing = true;
  requestAnimationFrame(() => {
    isShowing = false;
    const shown = shownRuns();
    lanes.show(shown);
    for (const run of shown) partsOf.get(run)?.update();
    byId('empty').hidden = shown.length > 0;
    byId('stage').classList.toggle('has-runs', shown.length > 0);
  });
}

function showResults() {
  const parts = resultsOf(shownRuns());
  byId('results').hidden = !parts.length;
  byId('results-body').replaceChildren(...parts);
}

const isSameWork = (a, b) => a.scenario === b.scenario && JSON.stringify(a.settings) === JSON.stringify(b.settings);

const kHandlers = {
  hello({running}) {
    runs.clear();
    isAsked = running;
    byId('connection').textContent = '';
    showRunning();
    showResults();
  },
  run(data) {
    for (const [number, run] of runs) {
      if (!isSameWork(run, data) || run.mode === data.mode || number === data.run) runs.delete(number);
    }
    runs.set(data.run, {
      ...data, lanes: data.lanes.map((lane) => ({...lane, segments: []})),
      open: [], now_ms: 0, ended: null, failed: null,
    });
    showRunning();
    showResults();
  },
  segments(data, run) {
    run.now_ms = data.now_ms;
    run.open = data.open;
    for (const [lane, segment] of data.done) run.lanes[lane].segments.push(segment);
  },
  counters(data, run) { run.counters = data; },
  text(data, run) { run.text = data; },
  table(data, run) { run.table = data; },
  explain(data, run) {
    run.explain = data;
    say(`${run.mode_title}: ${data.text}`);
  },
  graph(data, run) { run.graph = data; },
  ended(data, run) {
    run.ended = data;
    run.open = [];
    say(`${run.mode_title}: ${data.sentence}`, true);
    showRunning();
    showResults();
  },
  failed(data, run) {
    if (!run) {
      showTrouble(`The run could not begin: ${data.error}. ${data.hint ?? ''}`);
      return;
    }
    run.failed = data;
    run.open = [];
    say(`${run.mode_title}: ${data.error}`, true);
    showRunning();
    showResults();
  },
  idle() {
    isAsked = false;
    showRunning();
  },
};

function listen() {
  const stream = new EventSource('/api/events');
  for (const [name, handle] of Object.entries(kHandlers)) {
    stream.addEventListener(name, (event) => {
      const data = JSON.parse(event.data);
      const run = runs.get(data.run);
      if (!run && data.run !== undefined && name !== 'run' && name !== 'failed') return;
      handle(data, run);
      show();
    });
  }
  stream.addEventListener('error', () => {
    byId('connection').textContent = 'The lab does not answer; retrying…';
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, kReconnect);
  });
}

// For screen readers: announces only the latest sentence, but always how a run ended.
let toSay = [];
let nextSay = 0;
function say(text, isFinal = false) {
  toSay = [...toSay.filter((sentence) => sentence.isFinal), {text, isFinal}];
  if (nextSay) return;
  const speak = () => {
    if (!toSay.length) {
      nextSay = 0;
      return;
    }
    byId('news').textContent = toSay.map((sentence) => sentence.text).join(' ');
    toSay = [];
    nextSay = setTimeout(speak, kSayEvery);
  };
  nextSay = setTimeout(speak, 0);
}

byId('settings-box').open = !matchMedia('(max-width: 46rem)').matches;
try {
  const known = await ask('/api/scenarios');
  settingInfos = known.settings;
  for (const scenario of known.scenarios) scenarios.set(scenario.name, scenario);
  showScenarios();
  listen();
} catch (error) {
  showTrouble(`The scenarios could not be read: ${error.message}`);
}
