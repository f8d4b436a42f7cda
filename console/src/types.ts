// What /live, /explain and /try say.

export type Counts = Record<string, number>;
export type Pair = [number, number];

export interface Point {
  at: number;
  categories: Counts;
  routes: Counts;
  first_byte: Partial<Record<string, Pair>>;
  outcomes: Counts;
  classifier: Pair | null;
}

export interface Decision {
  number: number;
  at: string;
  id: string;
  dialect: string;
  language: string;
  words: number;
  text?: string;
  rules_category: string;
  category: string;
  decided_by: 'hint' | 'rule' | 'classifier' | 'default';
  rule?: string;
  route: 'local' | 'upstream';
  answer?: string;
  guard?: string;
  arm?: string;
  classifier?: { outcome: string; heeded: boolean; label?: string; probability?: number; micros: number };
}

export interface Hello {
  version: string;
  mlx: string;
  categories: string[];
  rules_dir: string;
  text: boolean;
  classifier: 'on' | 'shadow' | 'off';
  past: Point[];
  decisions: Decision[];
}

export interface Now {
  point: Point;
  uptime: number;
  inflight: number;
  asks: Record<string, Counts>;
  changes: { from: string; to: string; count: number }[];
  classifier: { up: boolean; state: string; detail: string };
  outcomes: Counts;
  upstreams: {
    name: string;
    up: boolean;
    models: string[] | null;
    servers: { name: string; up: boolean; cooling: boolean; inflight: number; models: number | null; in_memory: string[] | null }[];
  }[];
  memory: Counts;
  rules: {
    generation: number;
    loaded_at: string;
    rules: number;
    answers: number;
    phrases: number;
    reloads: Counts;
    last_error: string[];
  };
  decisions: Decision[];
  decided: number;
}

export interface Explanation {
  text: string;
  language: string;
  words: number;
  turns: number;
  dialect: string;
  model: string;
  rules: { name: string; category: string; priority: number; because: string; at: string }[];
  neighbours: { label: string; phrase: string; evidence: number; cosine: number }[];
  classifier: {
    asked: boolean;
    why: string;
    label: string | null;
    probability: number | null;
    scores: Counts | null;
  };
  guards: string[];
  category: string;
  decided_by: 'hint' | 'rule' | 'classifier' | 'default';
  rule: string | null;
  route: 'local' | 'upstream';
  guard: string | null;
  answer: string | null;
  reply: string | null;
  upstream: string | null;
  rewritten_model: string | null;
  micros: Record<'parse' | 'look' | 'rules' | 'classifier' | 'route', number>;
}

export interface Way {
  category: string;
  decided_by: string;
  rule: string | null;
  route: string;
  answer: string | null;
  guard: string | null;
  upstream: string | null;
  model: string | null;
  refused: boolean;
}

export interface Found {
  ok: boolean;
  problems: { file: string; line: number; col: number; message: string; here: boolean }[];
  of: number;
  same_way: number;
  moved: { number: number | null; text: string; before: Way; after: Way }[];
  without_text: number;
  unasked: number;
}
