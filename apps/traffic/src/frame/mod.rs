//! Frames from templates: lengths filled in, checksums right or wrong on purpose.

pub mod def;
pub mod sum;
mod text;
pub mod value;

pub use text::{Given, Sum, Template};

use crate::error::{Result, TrafficError, nearest};
use def::Field;

/// Longest frame in bytes, without FCS.
pub const LONGEST: usize = 9600;

/// A template whose headers are in their places. Lengths and checksums depend on the frame's length.
#[derive(Clone, Debug)]
pub struct Frame {
    template: Template,
    /// Offset of each header.
    at: Vec<usize>,
    /// Headers, then what was given as payload.
    bytes: Vec<u8>,
    headers: usize,
}

/// A field in its place: bits from the start of the frame.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// What it is.
    pub field: Field,
    /// Bits before it in the frame.
    pub at: usize,
}

/// A checksum in its place. Offsets are from the start of the frame.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its two bytes.
    pub at: usize,
    /// First byte that it covers.
    pub from: usize,
    /// One behind the last.
    pub to: usize,
    /// Addresses that it covers too: from and to.
    pub addresses: Option<(usize, usize)>,
    /// What else is in its pseudo-header.
    pub pseudo: u64,
    /// 0 means "none" there, so that it is sent as all ones.
    pub udp: bool,
    /// What is done about it.
    pub sum: Sum,
}

impl Site {
    /// What is written for what is covered.
    #[inline(always)]
    pub fn finish(sum: u64, udp: bool, wrong: bool) -> u16 {
        let mut value = !sum::fold(sum);
        if udp && value == 0 {
            value = 0xffff;
        }
        if wrong {
            // Never the other zero, and for UDP never "none".
            value ^= if udp && value == 0x00ff { 0xff00 } else { 0x00ff };
        }
        value
    }
}

impl Frame {
    /// Puts the headers into their places.
    pub fn new(template: &Template) -> Self {
        let (mut at, mut bytes) = (Vec::new(), Vec::new());
        for (index, given) in template.headers.iter().enumerate() {
            let layer = given.layer;
            let mut header = vec![0; layer.len];
            for field in layer.fields {
                value::put(&mut header, field.at, field.bits, field.default);
            }
            let after = template.headers.get(index + 1).map(|next| next.layer.name);
            let code = layer.followers.iter().find(|(name, _)| Some(*name) == after);
            if let (Some((_, code)), Some(next)) = (code, layer.next.and_then(|next| layer.field(next))) {
                value::put(&mut header, next.at, next.bits, *code);
            }
            for (name, value) in &given.values {
                if let Some(field) = layer.field(name) {
                    value::put(&mut header, field.at, field.bits, *value);
                }
            }
            at.push(bytes.len());
            bytes.extend(header);
        }
        let headers = bytes.len();
        bytes.extend_from_slice(&template.raw);
        Self {
            template: template.clone(),
            at,
            bytes,
            headers,
        }
    }

    /// Bytes of headers, in front of any payload.
    pub fn headers(&self) -> usize {
        self.headers
    }

    /// Bytes that were given: headers and payload. No frame of this template is shorter.
    pub fn least(&self) -> usize {
        self.bytes.len()
    }

    /// The field that `path` names: `ipv4.src`, `ipv4#2.src` for the second IPv4 header, or `@OFFSET:BYTES` for bytes of the
    /// frame, whatever they are.
    ///
    /// # Errors
    /// There is no such field, and which there is.
    pub fn place(&self, path: &str) -> Result<Place> {
        if let Some(bytes) = path.strip_prefix('@') {
            return raw_place(bytes);
        }
        let wrong = || {
            TrafficError::wrong(format!(
                "{path}: write a field as in ipv4.src, or @30:4 for bytes"
            ))
        };
        let (layer, name) = path.split_once('.').ok_or_else(wrong)?;
        let (layer, number) = match layer.split_once('#') {
            None => (layer, 1),
            Some((layer, number)) => (layer, number.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?),
        };
        let headers = || self.template.headers.iter().zip(&self.at);
        let found = headers()
            .filter(|(given, _)| given.layer.name == layer)
            .nth(number - 1);
        let Some((given, at)) = found else {
            let near = nearest(layer, headers().map(|(given, _)| given.layer.name));
            return Err(TrafficError::wrong(format!(
                "{path}: the frame has no such layer; did you mean {near}?"
            )));
        };
        let field = given.layer.field(name).ok_or_else(|| {
            let near = nearest(name, given.layer.fields.iter().map(|field| field.name));
            TrafficError::wrong(format!("{path}: {layer} has no such field; did you mean {near}?"))
        })?;
        Ok(Place {
            field: *field,
            at: at * 8 + field.at,
        })
    }

    /// The frame with `len` bytes (without FCS), `fill` behind what was given, lengths filled in and checksums as asked for.
    ///
    /// # Errors
    /// It does not fit.
    pub fn image(&self, len: usize, fill: u8) -> Result<Vec<u8>> {
        let mut bytes = self.unsummed(len, fill)?;
        settle(&mut bytes, &self.sites(len));
        Ok(bytes)
    }

    /// The same with checksums of 0.
    pub(crate) fn unsummed(&self, len: usize, fill: u8) -> Result<Vec<u8>> {
        if !(self.least().max(1)..=LONGEST).contains(&len) {
            return Err(TrafficError::wrong(format!(
                "a frame of {} bytes asked for; with these headers {} to {} are possible (with FCS)",
                len + 4,
                self.least() + 4,
                LONGEST + 4
            )));
        }
        let mut bytes = self.bytes.clone();
        bytes.resize(len, fill);
        for (given, at) in self.template.headers.iter().zip(&self.at) {
            let less = match given.layer.name {
                "ipv4" | "udp" => 0,
                "ipv6" => 40,
                _ => continue,
            };
            let given_length = given.values.iter().any(|(name, _)| *name == "length");
            if let Some(field) = given.layer.field("length").filter(|_| !given_length) {
                value::put(&mut bytes[*at..], field.at, field.bits, (len - at - less) as u128);
            }
        }
        Ok(bytes)
    }

    /// The checksums of a frame of `len` bytes, innermost first: in this order each is right when its turn has come.
    pub fn sites(&self, len: usize) -> Vec<Site> {
        let headers = self.template.headers.iter().zip(&self.at).enumerate();
        headers
            .rev()
            .filter_map(|(index, (given, at))| self.site(index, given, *at, len))
            .collect()
    }

    fn site(&self, index: usize, given: &Given, at: usize, len: usize) -> Option<Site> {
        let checksum = given.layer.field("checksum")?;
        let protocol = match given.layer.name {
            "udp" => Some(17),
            "tcp" => Some(6),
            "icmpv6" => Some(58),
            _ => None,
        };
        let under = protocol.and_then(|_| self.addresses(index));
        let length = (len - at) as u64;
        Some(Site {
            at: at + checksum.at / 8,
            from: at,
            to: if given.layer.name == "ipv4" {
                at + given.layer.len
            } else {
                len
            },
            addresses: under,
            pseudo: under
                .and(protocol)
                .map_or(0, |protocol| protocol + sum::part(length)),
            udp: given.layer.name == "udp",
            sum: given.sum,
        })
    }

    /// Where the addresses of the IP header are that is next outside of header `index`.
    fn addresses(&self, index: usize) -> Option<(usize, usize)> {
        let outside = self.template.headers[..index].iter().zip(&self.at).rev();
        outside
            .into_iter()
            .find_map(|(given, at)| match given.layer.name {
                "ipv4" => Some((at + 12, at + 20)),
                "ipv6" => Some((at + 8, at + 40)),
                _ => None,
            })
    }
}

fn raw_place(bytes: &str) -> Result<Place> {
    let wrong = || {
        TrafficError::wrong(format!(
            "@{bytes}: write bytes of the frame as in @30:4, 1 to 8 of them"
        ))
    };
    let (at, width) = bytes.split_once(':').ok_or_else(wrong)?;
    let at: usize = at.parse().ok().filter(|at| *at < LONGEST).ok_or_else(wrong)?;
    let width: usize = width
        .parse()
        .ok()
        .filter(|n| (1..=8).contains(n))
        .ok_or_else(wrong)?;
    let field = Field {
        name: "bytes",
        at: 0,
        bits: width * 8,
        kind: def::Kind::Number,
        default: 0,
    };
    Ok(Place { field, at: at * 8 })
}

/// What a site covers, as it stands.
pub(crate) fn covered(bytes: &[u8], site: &Site) -> u64 {
    let addresses = site.addresses.map_or(0, |(from, to)| sum::sum(&bytes[from..to]));
    sum::sum(&bytes[site.from..site.to]) + addresses + site.pseudo
}

/// Writes the checksums, which must be 0 so far.
fn settle(bytes: &mut [u8], sites: &[Site]) {
    for site in sites {
        let value = match site.sum {
            Sum::Fixed(value) => value,
            sum => Site::finish(covered(bytes, site), site.udp, sum == Sum::Wrong),
        };
        bytes[site.at..site.at + 2].copy_from_slice(&value.to_be_bytes());
    }
}
