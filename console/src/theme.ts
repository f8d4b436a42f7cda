// Light and dark: the system's choice unless the person makes one.
import { the } from './dom';
import { follow, t } from './i18n';

type Theme = 'auto' | 'light' | 'dark';
const STORED = 'brainstem.theme';
const ORDER: Theme[] = ['auto', 'light', 'dark'];

const system = matchMedia('(prefers-color-scheme: dark)');
const listeners: (() => void)[] = [];
let theme: Theme = ORDER.find((name) => name === localStorage.getItem(STORED)) ?? 'auto';

/** Is called when colours have changed. */
export const onTheme = (listener: () => void): number => listeners.push(listener);

/** A colour of the stylesheet. */
export const colour = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function put(): void {
  const dark = theme === 'dark' || (theme === 'auto' && system.matches);
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
  listeners.forEach((listener) => listener());
}

export function start(): void {
  const button = the<HTMLButtonElement>('theme');
  put();
  system.addEventListener('change', put);
  follow(() => void (button.textContent = t(`theme.${theme}`)));
  button.addEventListener('click', () => {
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length] ?? 'auto';
    localStorage.setItem(STORED, theme);
    button.textContent = t(`theme.${theme}`);
    put();
  });
}
