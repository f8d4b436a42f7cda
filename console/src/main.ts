// The console: one stream of events in, everything else is drawn from it.
import 'uplot/dist/uPlot.min.css';
import './style.css';
import * as charts from './charts';
import * as decisions from './decisions';
import { say, the } from './dom';
import * as i18n from './i18n';
import * as playground from './playground';
import * as state from './state';
import * as theme from './theme';
import * as trial from './trial';
import type { Hello, Now } from './types';

type Link = 'link.wait' | 'link.on' | 'link.off';
let link: Link = 'link.wait';

function show(now: Link): void {
  link = now;
  the('link').dataset.link = now.slice(5);
  say(the('link-text'), i18n.t(now));
}

/** Listens for good: a browser tries again by itself, except after a refusal. */
function listen(): void {
  const events = new EventSource('/live');
  events.addEventListener('hello', (event) => {
    const hello = JSON.parse((event as MessageEvent<string>).data) as Hello;
    charts.begin(hello.categories, hello.past);
    state.begin(hello);
    decisions.begin(hello);
    playground.begin(hello);
    trial.begin(hello);
    show('link.on');
  });
  events.addEventListener('now', (event) => {
    const now = JSON.parse((event as MessageEvent<string>).data) as Now;
    charts.add(now.point);
    state.add(now);
    decisions.add(now.decisions, now.decided);
    trial.add(now.decisions);
  });
  events.addEventListener('error', () => {
    show('link.off');
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  });
}

i18n.start();
theme.start();
state.start();
decisions.start();
playground.start();
trial.start();
i18n.follow(() => show(link));
listen();
