//! Pingora as it comes, without a filter: what brainstem's own cost is measured against. The same allocator,
//! threads and pool as `brainstem serve`. `benches/run.sh` starts it.

use std::io;

use async_trait::async_trait;
use clap::Parser;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Flags {
    /// Where clients come in
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where everything goes
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:11434")]
    upstream: String,
    /// `cargo bench` says so
    #[arg(long, hide = true)]
    bench: bool,
}

struct Bare {
    upstream: std::net::SocketAddr,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

fn main() -> io::Result<()> {
    let flags = Flags::parse();
    let Some(listen) = flags.listen else {
        println!("nothing to measure in here; --listen ADDR --upstream ADDR serves");
        return Ok(());
    };
    let upstream = flags.upstream.parse().map_err(io::Error::other)?;
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 256, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut proxy = http_proxy_service(&server.configuration, Bare { upstream });
    proxy.add_tcp(&listen);
    server.add_service(proxy);
    server.run_forever()
}
