//! A DNS server on loopback that knows what a test tells it, counts what it is asked, and can be slow or silent.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, NAPTR, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub struct Zone {
    pub address: SocketAddr,
    records: Arc<Mutex<Vec<Record>>>,
    asked: Arc<Mutex<BTreeSet<Asked>>>,
    pub silent: Arc<AtomicBool>,
    /// Milliseconds before each answer.
    pub delay: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

/// Name and type; what is sent again has the same identifier and source.
type Asked = (String, RecordType, u16, SocketAddr);

pub fn zone() -> Zone {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let zone = Zone {
        address: socket.local_addr().unwrap(),
        records: Arc::default(),
        asked: Arc::default(),
        silent: Arc::default(),
        delay: Arc::default(),
        over: Arc::default(),
    };
    let (records, asked) = (Arc::clone(&zone.records), Arc::clone(&zone.asked));
    let (silent, delay, over) = (Arc::clone(&zone.silent), Arc::clone(&zone.delay), Arc::clone(&zone.over));
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while !over.load(Ordering::Relaxed) {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let question = query.queries[0].clone();
            let name = question.name.to_string().to_ascii_lowercase();
            asked.lock().unwrap().insert((name, question.query_type, query.id, from));
            if silent.load(Ordering::Relaxed) {
                continue;
            }
            let mut answer = Message::response(query.id, OpCode::Query);
            answer.metadata.recursion_available = true;
            let known = records.lock().unwrap().clone();
            let of_name = known.iter().filter(|record| record.name == question.name);
            if of_name.clone().count() == 0 {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            answer.add_answers(of_name.filter(|record| record.record_type() == question.query_type).cloned());
            answer.add_query(question);
            let (socket, delay) = (socket.try_clone().unwrap(), delay.load(Ordering::Relaxed));
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(delay));
                socket.send_to(&answer.to_vec().unwrap(), from).unwrap();
            });
        }
    });
    zone
}

impl Zone {
    fn add(&self, name: &str, ttl: u32, data: RData) {
        let name = Name::from_ascii(format!("{name}.")).unwrap();
        self.records.lock().unwrap().push(Record::from_rdata(name, ttl, data));
    }

    pub fn naptr(&self, name: &str, order: u16, preference: u16, service: &str, replacement: &str) {
        let replacement = Name::from_ascii(format!("{replacement}.")).unwrap();
        let service = service.as_bytes().into();
        let naptr = NAPTR::new(order, preference, (*b"s").into(), service, [].into(), replacement);
        self.add(name, 60, RData::NAPTR(naptr));
    }

    pub fn srv(&self, name: &str, priority: u16, weight: u16, port: u16, target: &str) {
        let target = Name::from_ascii(format!("{target}.")).unwrap();
        self.add(name, 60, RData::SRV(SRV::new(priority, weight, port, target)));
    }

    pub fn a(&self, name: &str, ttl: u32, address: [u8; 4]) {
        self.add(name, ttl, RData::A(A(Ipv4Addr::from(address))));
    }

    pub fn forget(&self) {
        self.records.lock().unwrap().clear();
    }

    /// How often it was asked for records of this type.
    pub fn asked(&self, name: &str, kind: RecordType) -> usize {
        let name = format!("{name}.");
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(asked, of_kind, ..)| *asked == name && *of_kind == kind).count()
    }

    pub fn asked_at_all(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Drop for Zone {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
