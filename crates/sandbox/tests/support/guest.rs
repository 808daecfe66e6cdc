//! The program inside the test images; built static, so that it runs alone in its root.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments[0].as_str() {
        "listen" => listen(&arguments[1]),
        "exit" => {
            println!("to stdout");
            eprintln!("to stderr");
            print!("unfinished line");
            std::process::exit(arguments[1].parse().unwrap());
        }
        "ask" => println!("{}", ask(&arguments[1])),
        "expect" => expect(&arguments[1..]),
        "get" => get(&arguments[1]),
        "look" => look(),
        "linger" => {
            let program = std::env::current_exe().unwrap();
            std::process::Command::new(program).arg("sleep").spawn().unwrap();
            println!("lingering");
            sleep();
        }
        "sleep" => sleep(),
        other => panic!("unknown: {other}"),
    }
}

fn sleep() {
    std::thread::sleep(std::time::Duration::from_secs(600));
}

/// Answers every request with the value of `NAME`, and keeps the connection.
fn listen(host: &str) {
    let port = std::env::var("PORT").unwrap_or("8080".into());
    let listener = TcpListener::bind(format!("{host}:{port}")).unwrap();
    println!("listening");
    let name = std::env::var("NAME").unwrap_or_default();
    let status = std::env::var("STATUS").unwrap_or("200 OK".into());
    for stream in listener.incoming() {
        let (mut stream, name, status) = (stream.unwrap(), name.clone(), status.clone());
        std::thread::spawn(move || {
            let mut request = [0; 4096];
            while stream.read(&mut request).is_ok_and(|count| count > 0) {
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", name.len());
                stream.write_all((head + &name).as_bytes()).unwrap();
            }
        });
    }
}

/// Reads what the server at `scheme://HOST:PORT/...` in this variable has to say.
fn ask(variable: &str) -> String {
    let url = std::env::var(variable).unwrap();
    let address = url.split_once("//").unwrap().1.rsplit('@').next().unwrap();
    let address = address.split('/').next().unwrap();
    let mut answer = String::new();
    match TcpStream::connect(address) {
        Ok(mut stream) => stream.read_to_string(&mut answer).map(drop).unwrap(),
        Err(error) => answer = error.to_string(),
    }
    answer
}

/// Panics unless folder, `GREETING`, user and group are these.
fn expect(expected: &[String]) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let id = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    let folder = std::env::current_dir().unwrap().display().to_string();
    let found = [folder, std::env::var("GREETING").unwrap(), id("Uid:"), id("Gid:")];
    assert_eq!(found, expected);
}

/// Ends with 0 when the server at this address answers 200, else with 1.
fn get(address: &str) {
    let mut answer = [0; 12];
    let fine = TcpStream::connect(address).is_ok_and(|mut stream| {
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        stream.read_exact(&mut answer).is_ok() && answer.ends_with(b" 200")
    });
    std::process::exit(if fine { 0 } else { 1 });
}

fn look() {
    println!("cwd {}", std::env::current_dir().unwrap().display());
    println!("pid {}", std::process::id());
    for (name, value) in std::env::vars() {
        println!("env {name}={value}");
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for line in status.lines().filter(|it| it.starts_with("Uid:") || it.starts_with("Gid:")) {
        println!("{}", line.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
    }
    std::fs::write("/tmp/file", "x").unwrap();
    std::fs::write("/dev/null", "x").unwrap();
    let mut random = [0; 8];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
    println!("files fine");
    println!("root {}", std::path::Path::new("/etc/passwd-of-the-host").exists());
}
