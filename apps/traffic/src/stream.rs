//! Streams: a template, what varies in it, how long its frames are, and its weight.

use crate::error::{Result, TrafficError, with_nearest};
use crate::frame::{Frame, Template};
use crate::program::{Program, order};
use crate::sign::{MARK, Mark};
use crate::size::{FCS, Sizes};
use crate::vary::{Vary, Walk};
use serde::Deserialize;

/// A stream as it is described: a `[[streams]]` of a TOML file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct StreamConfig {
    /// What it is called.
    pub name: Option<String>,
    /// Its headers, in short: `ethernet/ipv4(dst=10.0.0.1)/udp`.
    pub frame: Option<String>,
    /// The same as a list of tables, each with `choice = "ipv4"` and the values of fields.
    pub packet: Vec<toml::Table>,
    /// Fields that vary, as in `ipv4.src=10.0.0.1..10.0.0.254`.
    pub vary: Vec<String>,
    /// Lengths with FCS: `64`, `64-1518`, `imix`, `64:7,594:4`.
    pub size: Option<String>,
    /// Its share of the packets, against the other streams.
    pub weight: Option<u32>,
    /// Whether frames carry a mark, by which loss and latency are measured.
    pub signed: Option<bool>,
    /// The byte behind what was given.
    pub fill: Option<u8>,
}

/// The frame of a stream that describes none.
pub const DEFAULT_FRAME: &str = "ethernet/ipv4/udp";

impl StreamConfig {
    /// Reads one from TOML.
    ///
    /// # Errors
    /// What is wrong, and for an unknown key the nearest right one.
    pub fn from_toml(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| TrafficError::wrong(with_nearest(&error.to_string())))
    }

    fn frame(&self) -> Result<Frame> {
        let template = match (&self.frame, &self.packet[..]) {
            (Some(_), [_, ..]) => {
                return Err(TrafficError::wrong(
                    "a stream has frame or packet, not both; leave one out",
                ));
            }
            (None, tables @ [_, ..]) => Template::from_tables(tables)?,
            (text, []) => Template::parse(text.as_deref().unwrap_or(DEFAULT_FRAME))?,
        };
        Ok(Frame::new(&template))
    }

    /// Compiles it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn compile(&self) -> Result<Stream> {
        let named = |error: TrafficError| match (&self.name, error) {
            (Some(name), TrafficError::Wrong(text)) => TrafficError::wrong(format!("stream {name}: {text}")),
            (_, error) => error,
        };
        self.compiled().map_err(named)
    }

    fn compiled(&self) -> Result<Stream> {
        let frame = self.frame()?;
        let sizes: Sizes = self.size.as_deref().unwrap_or("64").parse()?;
        let mut fields: Vec<Vary> = self
            .vary
            .iter()
            .map(|text| Vary::parse(text, &frame))
            .collect::<Result<_>>()?;
        order(&mut fields);
        let mark = self.signed.unwrap_or(true).then_some(frame.least());
        let least = frame.least() + if mark.is_some() { MARK } else { 0 };
        let all = sizes.all();
        if let Some(short) = all.iter().find(|size| **size < least + FCS) {
            let hint = if frame.least() + FCS <= *short {
                ", or signed = false"
            } else {
                ""
            };
            return Err(TrafficError::wrong(format!(
                "size {short} is too short: these headers{} need {}; write size = \"{}\"{hint}",
                if mark.is_some() {
                    " and a mark of 16 bytes"
                } else {
                    ""
                },
                least + FCS,
                least + FCS,
            )));
        }
        let fill = self.fill.unwrap_or(0);
        let programs: Result<Vec<Program>> = all
            .iter()
            .map(|size| Program::compile(&frame, size - FCS, fill, &fields, mark))
            .collect();
        let weight = self.weight.unwrap_or(1);
        if weight == 0 {
            return Err(TrafficError::wrong(
                "weight 0: at least 1 is needed; leave the stream out",
            ));
        }
        Ok(Stream {
            name: self.name.clone(),
            programs: programs?,
            order: sizes.order(1),
            sizes,
            fields,
            mark,
            fill,
            weight,
        })
    }
}

/// A stream that frames can be made of.
#[derive(Clone, Debug)]
pub struct Stream {
    /// What it is called.
    pub name: Option<String>,
    /// Lengths.
    pub sizes: Sizes,
    /// Where the mark stands, if frames have one.
    pub mark: Option<usize>,
    /// The byte behind what was given.
    pub fill: u8,
    /// Its share.
    pub weight: u32,
    programs: Vec<Program>,
    order: Vec<u16>,
    fields: Vec<Vary>,
}

impl Stream {
    /// Bytes of its longest frame, without FCS.
    pub fn longest(&self) -> usize {
        self.programs.iter().map(Program::len).max().unwrap_or(0)
    }

    /// Bytes that a buffer needs to make any of its frames in.
    pub fn room(&self) -> usize {
        self.programs.iter().map(Program::room).max().unwrap_or(0)
    }
}

/// One core's part of a stream: every `lanes`-th packet of it, with numbers of their own.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    programs: Vec<Program>,
    order: Vec<u16>,
    at: usize,
    walks: Vec<Walk>,
    mark: Option<usize>,
    flow: u16,
    /// Packets made: the number of the next one.
    pub made: u64,
}

impl Part {
    pub fn new(stream: &Stream, flow: u16, lane: u64, lanes: u64) -> Self {
        Self {
            programs: stream.programs.clone(),
            order: stream.order.clone(),
            at: 0,
            walks: stream
                .fields
                .iter()
                .map(|vary| Walk::new(&vary.values, lane, lanes))
                .collect(),
            mark: stream.mark,
            flow,
            made: 0,
        }
    }

    /// Begins anew, as this flow.
    pub fn restart(&mut self, flow: u16) {
        (self.flow, self.made, self.at) = (flow, 0, 0);
    }

    /// Whether its frames are of one length.
    #[inline(always)]
    pub fn is_even(&self) -> bool {
        self.programs.len() == 1
    }

    /// The bytes of the next frame, without FCS.
    #[inline(always)]
    pub fn next_len(&self) -> usize {
        self.program().map_or(0, Program::len)
    }

    #[inline(always)]
    fn program(&self) -> Option<&Program> {
        match &self.programs[..] {
            [one] => Some(one),
            programs => programs.get(usize::from(*self.order.get(self.at)?)),
        }
    }

    /// Writes the next frame into `frame`, and returns its length.
    #[inline(always)]
    pub fn write(&mut self, frame: &mut [u8], now: u64) -> usize {
        self.write_all([frame], now)
    }

    /// Writes the next frames, which are of one length, and returns that.
    #[inline(always)]
    pub fn write_all<const N: usize>(&mut self, mut frames: [&mut [u8]; N], now: u64) -> usize {
        let program = match &self.programs[..] {
            [one] => one,
            programs => match self
                .order
                .get(self.at)
                .and_then(|at| programs.get(usize::from(*at)))
            {
                Some(program) => program,
                None => return 0,
            },
        };
        program.write(&mut frames, self.walks.iter_mut().map(Walk::steps));
        if let Some(at) = self.mark {
            for (frame, number) in frames.iter_mut().zip(self.made..) {
                let mark = Mark {
                    flow: self.flow,
                    sequence: number as u32,
                    time: now,
                };
                mark.write(frame.get_mut(at..).unwrap_or_default());
            }
        }
        self.made += N as u64;
        self.at += 1;
        if self.at >= self.order.len() {
            self.at = 0;
        }
        program.len()
    }
}
