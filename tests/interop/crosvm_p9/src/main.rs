//! crosvm's 9P server behind a unix socket, a thread and a server for each connection.
//!
//! usage: crosvm-p9 DIR SOCKET      says "ready"

use std::io::{BufReader, BufWriter};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

fn serve(directory: &str, connection: UnixStream) -> std::io::Result<()> {
    let mut server = p9::Server::new(
        std::path::Path::new(directory),
        Default::default(),
        Default::default(),
    )?;
    let mut from = BufReader::new(connection.try_clone()?);
    let mut to = BufWriter::new(connection);
    loop {
        server.handle_message(&mut from, &mut to)?;
    }
}

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(directory), Some(socket)) = (args.next(), args.next()) else {
        eprintln!("usage: crosvm-p9 DIR SOCKET");
        std::process::exit(2);
    };
    let listener = UnixListener::bind(socket)?;
    println!("ready");
    for connection in listener.incoming() {
        let (directory, connection) = (directory.clone(), connection?);
        thread::spawn(move || {
            if let Err(error) = serve(&directory, connection) {
                // The end of the connection is one, too.
                eprintln!("crosvm-p9: {error}");
            }
        });
    }
    Ok(())
}
