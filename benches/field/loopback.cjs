// Preloaded into Portkey, whose start-server has no option for the address: every listen() goes to 127.0.0.1.
const { Server } = require('net');

const listen = Server.prototype.listen;
Server.prototype.listen = function (where, ...rest) {
  const host = '127.0.0.1';
  if (where !== null && typeof where === 'object' && 'port' in where) return listen.call(this, { ...where, host }, ...rest);
  return listen.call(this, { port: Number(where), host }, ...rest.filter((given) => typeof given === 'function'));
};
