// A fake server with the interface of lab/HTTP.md that plays simulated runs, for cases that the real one
// does not produce on demand. By hand: node fake_server.mjs [PORT]
import {readFile} from 'node:fs/promises';
import {createServer} from 'node:http';
import path from 'node:path';
import {fileURLToPath} from 'node:url';
import {simulate} from './simulation.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const page = path.resolve(here, '../../../lab/page');
const kTypes = {'.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml'};
const kToken = 'made-up-token';
export const kPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

// Builds the report from report.html as the lab does.
export async function reportOf(runs) {
  const skeleton = await readFile(path.join(page, 'report.html'), 'utf8');
  let html = '';
  for (const part of skeleton.split(/(\{\{[^}]+\}\})/)) {
    const name = /^\{\{([^}]+)\}\}$/.exec(part)?.[1];
    if (!name) html += part;
    else if (name === 'data') html += JSON.stringify({version: '0.0.0', runs}).replaceAll('<', '\\u003c');
    else html += (await readFile(path.join(page, name), 'utf8')).split('\n').filter((line) => !line.startsWith('import ')).join('\n');
  }
  return html;
}

export async function startFakeServer({port = 0, seed = 1, onStop = () => {}} = {}) {
  const known = JSON.parse(await readFile(path.join(here, 'scenarios.json'), 'utf8'));
  const listeners = new Set();
  const timers = new Set();
  let said = [];        // messages of the latest request
  let isRunning = false;
  let number = 0;
  let simulated = [];

  const tell = (event, data) => {
    const message = `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
    if (event !== 'hello' && event !== 'idle') said.push(message);
    for (const listener of listeners) listener.write(message);
  };
  const later = (ms, act) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      act();
    }, ms);
    timers.add(timer);
  };
  const play = (works) => {
    const [work, ...rest] = works;
    const made = simulate(work, ++number, seed + number);
    const begun = performance.now();
    let next = 0;
    const step = () => {
      const now = performance.now() - begun;
      for (; next < made.messages.length && made.messages[next].at_ms <= now; ++next) {
        const {event, data} = made.messages[next];
        tell(event, data);
        if (event === 'ended') simulated.push({...made.run, lanes: made.run.lanes.map((lane, i) => ({...lane, segments: made.segments[i]})), open: [], now_ms: made.messages[next].at_ms, ended: data});
      }
      if (next < made.messages.length) later(Math.max(1, made.messages[next].at_ms - now), step);
      else if (rest.length) play(rest);
      else {
        isRunning = false;
        tell('idle', {});
      }
    };
    step();
  };

  const server = createServer(async (request, response) => {
    const {pathname} = new URL(request.url, 'http://localhost');
    const answer = (status, body, type = 'application/json', more = {}) => {
      response.writeHead(status, {...more, 'Content-Type': type, 'Content-Security-Policy': kPolicy, 'Cache-Control': 'no-store',
        'X-Content-Type-Options': 'nosniff', 'Referrer-Policy': 'no-referrer', 'Cross-Origin-Resource-Policy': 'same-origin'});
      response.end(typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body));
    };
    if (request.method === 'POST') {
      let body = '';
      for await (const chunk of request) body += chunk;
      if (request.headers['turnstile-token'] !== kToken) return answer(403, {error: 'the token is missing or wrong'});
      if (pathname === '/api/stop') {
        onStop();
        for (const timer of timers) clearTimeout(timer);
        if (isRunning) {
          const wanted = 6;
          tell('ended', {run: number, numbers: {rows_wanted: wanted, in_database: 0, lost: wanted, locked_errors: 0, wall_ms: 1, longest_wait_ms: 1,
            longest_lock_wait_ms: 1, processes: [], text: null, cycle: []}, sentence: 'It was stopped before its end.', agrees: true, disagreements: [], stopped: true, graph: null});
          isRunning = false;
          tell('idle', {});
        }
        return answer(202, {});
      }
      if (pathname !== '/api/run') return answer(404, {error: 'no such path'});
      if (isRunning) return answer(409, {error: 'runs are in progress'});
      const asked = JSON.parse(body);
      const scenario = known.scenarios.find(({name}) => name === asked.scenario);
      for (const [name, value] of Object.entries(asked.settings ?? {})) {
        const info = known.settings.find((setting) => setting.name === name);
        if (info.type === 'integer' && !(value >= info.min && value <= info.max)) {
          return answer(400, {error: `${name} must be ${info.min} to ${info.max}, not ${value}`});
        }
      }
      isRunning = true;
      said = [];
      simulated = [];
      const works = asked.modes.map((mode) => ({scenario: scenario.name, title: scenario.title, mode, settings: {...scenario.settings, ...asked.settings}}));
      answer(202, {runs: works.map(({mode}, i) => ({run: number + 1 + i, mode}))});
      return play(works);
    }
    if (pathname === '/api/scenarios') return answer(200, known);
    if (pathname === '/api/report') {
      return simulated.length ? answer(200, await reportOf(simulated), kTypes['.html'], {'Content-Disposition': 'attachment; filename="turnstile-lab.html"'}) : answer(404, {error: 'nothing has run yet'});
    }
    if (pathname === '/api/events') {
      response.writeHead(200, {'Content-Type': 'text/event-stream', 'Content-Security-Policy': kPolicy, 'Cache-Control': 'no-store'});
      response.write(`event: hello\ndata: ${JSON.stringify({version: '0.0.0', running: isRunning})}\n\n`);
      for (const message of said) response.write(message);
      listeners.add(response);
      response.on('close', () => listeners.delete(response));
      return undefined;
    }
    try {
      const name = pathname === '/' ? 'index.html' : path.basename(pathname);
      const text = await readFile(path.join(page, name));
      return answer(200, text, kTypes[path.extname(name)]);
    } catch {
      return answer(404, {error: 'no such path'});
    }
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    address: `http://127.0.0.1:${server.address().port}/#token=${kToken}`,
    tell,
    dropListeners() { for (const listener of listeners) listener.destroy(); },
    async close() {
      for (const timer of timers) clearTimeout(timer);
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log((await startFakeServer({port: Number(process.argv[2] ?? 7374)})).address);
}
