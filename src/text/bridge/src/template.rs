//! Chat template handle: a minijinja environment that behaves as the Jinja environment transformers makes for chat templates, with limits.
//!
//! A template is part of a downloaded model, so it is not trusted: it sees plain data only, and a budget ("fuel": steps, plus one per 64 bytes it
//! creates) bounds time and memory in proportion to its input. Known gap of minijinja 3.1: `list + list` is lazy and not metered, so a template
//! that doubles one list more than 32 times does not end.

use crate::chat_filters as filters;
use crate::{guarded, text, write_text, EvbText};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, Output, State, Value};
use serde_json::Value as Json;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::mpsc::{channel, sync_channel, Sender};
use std::sync::OnceLock;
use std::thread;

pub struct EvbTemplate {
    environment: Environment<'static>,
    worker: OnceLock<Result<Worker, String>>, // started by the first rendering
}

const NAME: &str = "chat_template";
const MAX_SOURCE_BYTES: usize = 1 << 20; // the largest published chat templates are about 60 KiB
const BASE_FUEL: u64 = 200_000; // about 0.02 s; a template with tools spends some thousands before the first message
const FUEL_PER_JSON_VALUE: u64 = 200; // a message is three values or more and costs real templates 60 to 150 steps
const MAX_DEPTH: usize = 128; // nested loops, macros and includes; recursive JSON-schema macros stay below 20

// A list in a list in a list ... is freed recursively, with one level for about six steps of a template and up to 240 bytes of stack for a level.
const BASE_STACK_BYTES: u64 = 8 << 20;
const STACK_BYTES_PER_FUEL: u64 = 40;
const MAX_STACK_BYTES: u64 = 1 << 30;
const WORKER_FUEL: u64 = 1_000_000; // of what the template's own thread renders: a conversation of up to some 500 KiB

type Job = Box<dyn FnOnce() + Send>;

/// A thread that runs jobs one after the other and ends when the worker is dropped: cheaper than a thread for each rendering.
struct Worker {
    jobs: Sender<Job>,
}

impl Worker {
    /// fuel: the most that a job may have.
    fn start(fuel: u64) -> Result<Worker, String> {
        let (jobs, queue) = channel::<Job>();
        let stack = (BASE_STACK_BYTES + STACK_BYTES_PER_FUEL * fuel).min(MAX_STACK_BYTES) as usize;
        let spawned = thread::Builder::new().stack_size(stack).spawn(move || queue.into_iter().for_each(|job| job()));
        spawned.map_err(|error| format!("cannot start a thread with a stack of {stack} bytes: {error}"))?;
        Ok(Worker { jobs })
    }

    /// What `body` returns; its panic goes on in the caller.
    fn run<T: Send + 'static>(&self, body: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        let (reply, answer) = sync_channel(1);
        let job = move || {
            let _ = reply.send(catch_unwind(AssertUnwindSafe(body)));
        };
        self.jobs.send(Box::new(job)).map_err(|error| error.to_string())?;
        let outcome = answer.recv().map_err(|error| error.to_string())?;
        Ok(outcome.unwrap_or_else(|payload| resume_unwind(payload)))
    }
}

/// `{% generation %}` marks assistant text for transformers' masks. It only opens a scope, so `{% with %}` renders the same.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        let inner = tag.trim_start_matches(['-', '+']);
        let name = inner.trim_start();
        let replacement = [("endgeneration", "endwith"), ("generation", "with")].into_iter().find_map(|(old, new)| {
            let after = name.strip_prefix(old)?;
            let closing = after.trim_start();
            (closing.starts_with("%}") || closing.starts_with("-%}") || closing.starts_with("+%}")).then_some((new, after))
        });
        if let Some((new, after)) = replacement {
            out.push_str(&tag[..tag.len() - name.len()]);
            out.push_str(new);
            rest = after;
        } else {
            rest = tag;
        }
    }
    out.push_str(rest);
    out
}

/// Output of `{{ value }}`: as Python's str(), where minijinja prints floats differently.
fn format_value(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Number | ValueKind::Seq | ValueKind::Map => {
            let text = filters::python_str(state, value)?;
            out.write_str(&text).map_err(Error::from)
        }
        _ => write!(out, "{value}").map_err(Error::from),
    }
}

fn build(source: &str) -> Result<EvbTemplate, String> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(format!("the template has {} bytes, the limit is {MAX_SOURCE_BYTES}", source.len()));
    }
    // Jinja reads all line endings as \n.
    let source = without_generation_tags(&source.replace("\r\n", "\n").replace('\r', "\n"));
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| describe(&error))?);
    environment.set_recursion_limit(MAX_DEPTH);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(format_value);
    environment.set_unknown_method_callback(filters::call_python_method);
    environment.add_filter("tojson", filters::tojson);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("string", filters::string);
    environment.add_test("iterable", filters::is_iterable);
    environment.add_function("raise_exception", filters::raise_exception);
    environment.add_function("strftime_now", filters::strftime_now);
    environment.add_template_owned(NAME, source).map_err(|error| describe(&error))?;
    Ok(EvbTemplate { environment, worker: OnceLock::new() })
}

/// One line: what went wrong and where, with the causes.
fn describe(error: &Error) -> String {
    let mut out = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    if let Some(line) = error.line() {
        out.push_str(&format!(" (template line {line})"));
    }
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        out.push_str(&format!("; {inner}"));
        cause = inner.source();
    }
    out.replace('\n', " ")
}

fn to_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => {
            if let Some(value) = number.as_i64() {
                Value::from(value)
            } else if let Some(value) = number.as_u64() {
                Value::from(value)
            } else {
                Value::from(number.as_f64().unwrap_or(f64::NAN))
            }
        }
        Json::String(value) => Value::from(value.as_str()),
        Json::Array(items) => items.iter().map(to_value).collect(),
        Json::Object(fields) => Value::from_pairs(fields.iter().map(|(key, value)| (key.as_str(), to_value(value)))),
    }
}

fn count_values(json: &Json) -> u64 {
    match json {
        Json::Array(items) => 1 + items.iter().map(count_values).sum::<u64>(),
        Json::Object(fields) => 1 + fields.values().map(count_values).sum::<u64>(),
        _ => 1,
    }
}

fn render(template: &EvbTemplate, variables: &str) -> Result<String, String> {
    let json: Json = serde_json::from_str(variables).map_err(|error| error.to_string())?;
    let fuel = BASE_FUEL + FUEL_PER_JSON_VALUE * count_values(&json) + variables.len() as u64;
    let mut environment = template.environment.clone();
    environment.set_fuel(Some(fuel));
    let body = move || {
        let compiled = environment.get_template(NAME).map_err(|error| describe(&error))?;
        compiled.render(to_value(&json)).map_err(|error| describe(&error))
    };
    // On another thread, whose stack (address space; memory only where it is used) is as large as the fuel can make necessary.
    if fuel > WORKER_FUEL {
        return Worker::start(fuel)?.run(body)?;
    }
    template.worker.get_or_init(|| Worker::start(WORKER_FUEL)).as_ref().map_err(Clone::clone)?.run(body)?
}

/// # Safety
/// `source` is valid for `source_size` bytes; `error` is null or valid for writing.
#[no_mangle]
pub unsafe extern "C" fn evb_template_create(source: *const u8, source_size: usize, error: *mut EvbText) -> *mut EvbTemplate {
    guarded(error, || build(text(source, source_size)?)).map_or(std::ptr::null_mut(), |template| Box::into_raw(Box::new(template)))
}

/// # Safety
/// `template` is null or came from `evb_template_create` and is not used again.
#[no_mangle]
pub unsafe extern "C" fn evb_template_free(template: *mut EvbTemplate) {
    if !template.is_null() {
        drop(Box::from_raw(template));
    }
}

/// # Safety
/// All pointers are valid for their sizes.
#[no_mangle]
pub unsafe extern "C" fn evb_template_render(
    template: *const EvbTemplate,
    variables: *const u8,
    variables_size: usize,
    out: *mut EvbText,
    error: *mut EvbText,
) -> bool {
    guarded(error, || {
        let rendered = render(&*template, text(variables, variables_size)?)?;
        write_text(out, rendered);
        Ok(())
    })
    .is_some()
}
