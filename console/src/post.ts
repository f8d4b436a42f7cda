// Asking the admin address something.

/** Posts JSON and reads JSON; what is no success becomes an error with the server's own words. */
export async function post<T>(path: string, body: string, signal?: AbortSignal, headers: Record<string, string> = {}): Promise<T> {
  const response = await fetch(path, { method: 'POST', body, signal, headers: { 'content-type': 'application/json', ...headers } });
  if (!response.ok) throw new Error((await response.text()).trim() || String(response.status));
  return (await response.json()) as T;
}
