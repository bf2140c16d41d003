// The report: shows each scenario with its lanes and results.
import {mountLanes} from './lanes.js';
import {node, resultsOf, RunParts} from './parts.js';

function settingsInWords(settings) {
  return Object.entries(settings ?? {}).map(([name, value]) =>
    (name.endsWith('_ms') ? `${name.slice(0, -3).replaceAll('_', ' ')} ${value} ms` : `${name.replaceAll('_', ' ')} ${value}`)).join(', ');
}

function showReport(main, {version, runs}) {
  const made = runs[0]?.wall?.slice(0, 16).replace('T', ' ');
  document.getElementById('made').textContent = [made, version].filter(Boolean).join(' · ');
  const scenarios = new Map();
  for (const run of runs) {
    run.ended ??= null;
    run.open ??= [];
    const key = `${run.scenario} ${JSON.stringify(run.settings)}`;
    scenarios.set(key, [...scenarios.get(key) ?? [], run]);
  }
  if (!scenarios.size) main.append(node('p', {class: 'empty', text: 'This report holds no run.'}));
  for (const [i, group] of [...scenarios.values()].entries()) {
    const [first] = group;
    const section = node('section', {class: 'report-scenario', 'aria-label': first.title});
    const lanes = node('div', i === 0 ? {id: 'lanes'} : {});
    section.append(node('h2', {class: 'report-title', text: first.title}),
      node('p', {class: 'about', text: first.about ?? ''}),
      node('p', {class: 'about', text: settingsInWords(first.settings)}), lanes,
      node('div', {class: 'results'}, node('h3', {text: 'Results'}), ...resultsOf(group)));
    main.append(section);
    mountLanes(lanes, {decorate: (run, parts) => new RunParts(run, parts)}).show(group);
  }
}

showReport(document.getElementById('report'), JSON.parse(document.getElementById('data').textContent));
