// Holds the dashboards of a folder against Grafana's own types, and their LogQL and TraceQL against the grammars of
// Grafana's query editors: node check.mjs FOLDER. Prometheus' queries need no more, `make test` runs them.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parser as logQL } from '@grafana/lezer-logql';
import { parser as traceQL } from '@grafana/lezer-traceql';
import ts from 'typescript';

// Where the package has the types of a visualization's options.
const kinds = {
  bargauge: 'BarGauge', heatmap: 'Heatmap', logs: 'Logs', 'state-timeline': 'StateTimeline', stat: 'Stat', table: 'Table',
  timeseries: 'TimeSeries',
};
const withFields = ['state-timeline', 'timeseries']; // those that have types of their own for fields
const name = (kind) => kinds[kind];
const module = (kind) => `@grafana/schema/dist/esm/raw/composable/${name(kind).toLowerCase()}/panelcfg/x/${name(kind)}PanelCfg_types.gen`;

const dashboards = readdirSync(process.argv[2]).filter((file) => file.endsWith('.json'))
  .map((file) => ({ file, board: JSON.parse(readFileSync(join(process.argv[2], file), 'utf8')) }));
const faults = [];

// In JSON an enum is its value: JSON<T> is T with each enum's values in its place.
let source = `
import type { Dashboard, FieldConfig, Panel } from '@grafana/schema';
type JSON<T> = T extends string ? \`\${T}\` : T extends number ? (\`\${T}\` extends \`\${infer N extends number}\` ? N : T)
  : T extends (infer U)[] ? JSON<U>[] : T extends object ? { [K in keyof T]: JSON<T[K]> } : T;
type Query = { [key: string]: unknown };
`;
for (const kind in kinds) {
  source += `import type { Options as ${name(kind)} } from '${module(kind)}';\n`;
  if (withFields.includes(kind)) {
    source += `import type { FieldConfig as ${name(kind)}Field } from '${module(kind)}';\n`;
  }
}
let n = 0;
const typed = (what, type, value) => {
  source += `// ${what}\nexport const v${n++}: ${type} = ${JSON.stringify(value)};\n`;
};
for (const { file, board } of dashboards) {
  const { panels, annotations, ...rest } = board;
  typed(file, `JSON<Omit<Dashboard, 'panels' | 'annotations'>>`, rest);
  for (const panel of panels) {
    const { options, fieldConfig, ...frame } = panel;
    const { custom, ...field } = fieldConfig.defaults;
    const what = `${file}, panel ${panel.id}`;
    if (!(panel.type in kinds)) {
      faults.push(`${what}: a visualization ${panel.type} whose types are not known here`);
      continue;
    }
    typed(what, `JSON<Omit<Panel, 'options' | 'fieldConfig'>>`, frame);
    typed(what, `JSON<${name(panel.type)}>`, options);
    typed(what, `JSON<Omit<FieldConfig, 'custom'>>`, field);
    typed(what, `JSON<NonNullable<Panel['fieldConfig']>['overrides']>`, fieldConfig.overrides);
    if (custom) {
      typed(what, `JSON<${name(panel.type)}Field>`, custom);
    }
    for (const { datasource, expr, query } of panel.targets) {
      const grammar = { loki: logQL, tempo: traceQL }[datasource.type];
      const text = (expr ?? query).replaceAll('${vendor:pipe}', 'one|other');
      grammar?.parse(text).iterate({ enter: ({ type, from }) => {
        if (type.isError) {
          faults.push(`${what}: ${text}: does not parse from character ${from} on`);
        }
      } });
    }
  }
}
writeFileSync('check.ts', source);
const program = ts.createProgram(['check.ts'], {
  noEmit: true, strict: true, skipLibCheck: true, target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler,
});
for (const { file, start, messageText } of ts.getPreEmitDiagnostics(program)) {
  const lines = source.slice(0, start ?? 0).split('\n');
  const what = file?.fileName === 'check.ts' ? lines.findLast((line) => line.startsWith('// ')).slice(3) : 'options';
  faults.push(`${what}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`);
}

console.log(faults.length ? faults.join('\n') : `${dashboards.length} dashboards are as Grafana's types and grammars have them`);
process.exitCode = faults.length ? 1 : 0;
