//! What chat templates call, with Python's results: json.dumps, str(), str methods, strftime.

use minijinja::value::{from_args, Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// repr(float): shortest digits that read back, exponent form below 1e-4 and from 1e16 on.
fn python_float(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') {
        plain
    } else {
        plain + ".0"
    }
}

/// str() of an int or float.
pub fn python_number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    f64::try_from(value.clone()).map_or_else(|_| value.to_string(), python_float)
}

/// Printing recurses once per level; a template could nest deeper than the stack allows.
const MAX_DEPTH: usize = 200;

fn enter(state: &State, depth: usize) -> Result<(), Error> {
    state.consume_fuel(1)?;
    if depth > MAX_DEPTH {
        return Err(invalid(format!("a value is nested more than {MAX_DEPTH} deep")));
    }
    Ok(())
}

/// str() of anything: containers print their items with Python's repr().
pub fn python_str(state: &State, value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Number => Ok(python_number(value)),
        ValueKind::Seq | ValueKind::Map => {
            let mut out = String::new();
            push_repr(&mut out, state, value, 0)?;
            Ok(out)
        }
        _ => Ok(value.to_string()),
    }
}

fn push_repr(out: &mut String, state: &State, value: &Value, depth: usize) -> Result<(), Error> {
    enter(state, depth)?;
    match value.kind() {
        ValueKind::Number => out.push_str(&python_number(value)),
        ValueKind::Seq => {
            let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
            out.push(open);
            for (at, item) in value.try_iter()?.enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                push_repr(out, state, &item, depth + 1)?;
            }
            out.push_str(if value.is_tuple() && value.len() == Some(1) { "," } else { "" });
            out.push(close);
        }
        ValueKind::Map => {
            out.push('{');
            for (at, key) in value.try_iter()?.enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                push_repr(out, state, &key, depth + 1)?;
                out.push_str(": ");
                push_repr(out, state, &value.get_item(&key)?, depth + 1)?;
            }
            out.push('}');
        }
        _ => out.push_str(&format!("{value:?}")),
    }
    Ok(())
}

/// The arguments of json.dumps that transformers lets templates set.
struct JsonStyle {
    ensure_ascii: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

fn push_json_string(out: &mut String, text: &str, ensure_ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || (ensure_ascii && (c as u32) > 0x7e) => {
                let mut units = [0u16; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn json_number(value: &Value) -> String {
    match python_number(value).as_str() {
        "nan" => "NaN".into(),
        "inf" => "Infinity".into(),
        "-inf" => "-Infinity".into(),
        other => other.to_owned(),
    }
}

fn json_key(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::Number => Ok(json_number(key)),
        ValueKind::Bool => Ok(if key.is_true() { "true".into() } else { "false".into() }),
        ValueKind::None => Ok("null".into()),
        other => Err(invalid(format!("keys must be str, int, float, bool or None, not {other}"))),
    }
}

/// Starts an item of a container: separator and, with indent, a new line.
fn begin_item(out: &mut String, style: &JsonStyle, depth: usize, first: bool) {
    if !first {
        out.push_str(&style.item_separator);
    }
    if let Some(indent) = &style.indent {
        out.push('\n');
        out.push_str(&indent.repeat(depth));
    }
}

fn end_container(out: &mut String, style: &JsonStyle, depth: usize, empty: bool) {
    if let (Some(indent), false) = (&style.indent, empty) {
        out.push('\n');
        out.push_str(&indent.repeat(depth));
    }
}

fn push_json(out: &mut String, state: &State, value: &Value, style: &JsonStyle, depth: usize) -> Result<(), Error> {
    enter(state, depth)?;
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&json_number(value)),
        ValueKind::String => push_json_string(out, value.as_str().unwrap_or_default(), style.ensure_ascii),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            let mut first = true;
            for item in value.try_iter()? {
                begin_item(out, style, depth + 1, first);
                first = false;
                push_json(out, state, &item, style, depth + 1)?;
            }
            end_container(out, style, depth, first);
            out.push(']');
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sort_keys {
                keys.sort();
            }
            out.push('{');
            let mut first = true;
            for key in keys {
                begin_item(out, style, depth + 1, first);
                first = false;
                push_json_string(out, &json_key(&key)?, style.ensure_ascii);
                out.push_str(&style.key_separator);
                push_json(out, state, &value.get_item(&key)?, style, depth + 1)?;
            }
            end_container(out, style, depth, first);
            out.push('}');
        }
        ValueKind::Undefined => return Err(invalid("Object of type Undefined is not JSON serializable")),
        other => return Err(invalid(format!("{other} is not JSON serializable"))),
    }
    Ok(())
}

/// `value | tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`: json.dumps.
pub fn tojson(state: &State, value: &Value, ensure_ascii: Option<Value>, indent: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let given = |value: &Value| !value.is_none() && !value.is_undefined();
    let ensure_ascii = ensure_ascii.or(options.get("ensure_ascii")?).is_some_and(|value| value.is_true());
    let indent = indent.or(options.get("indent")?).filter(given);
    let separators = options.get::<Option<Value>>("separators")?.filter(given);
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;

    const MAX_INDENT: i64 = 64;
    let indent = match indent {
        None => None,
        Some(value) if value.kind() == ValueKind::String => Some(value.as_str().unwrap_or_default().chars().take(MAX_INDENT as usize).collect()),
        Some(value) => {
            let width = i64::try_from(value).map_err(|_| invalid("indent must be a number, a string or none"))?;
            Some(" ".repeat(width.clamp(0, MAX_INDENT) as usize))
        }
    };
    let (item_separator, key_separator) = match separators {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some(pair) => {
            let parts: Vec<Value> = pair.try_iter()?.collect();
            match parts.as_slice() {
                [item, key] => (item.to_string(), key.to_string()),
                _ => return Err(invalid("separators must be a pair of strings")),
            }
        }
    };
    let style = JsonStyle { ensure_ascii, indent, item_separator, key_separator, sort_keys };
    let mut out = String::new();
    push_json(&mut out, state, value, &style, 0)?;
    Ok(Value::from(out))
}

/// Characters that str.strip() and str.split() take as whitespace: Unicode's, and the four ASCII separators.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn strip<'a>(text: &'a str, chars: Option<&str>, left: bool, right: bool) -> &'a str {
    let matches = |c: char| chars.map_or_else(|| is_python_space(c), |set| set.contains(c));
    let text = if left { text.trim_start_matches(matches) } else { text };
    if right {
        text.trim_end_matches(matches)
    } else {
        text
    }
}

/// `value | trim(chars)`.
pub fn trim(state: &State, value: &Value, chars: Option<&str>) -> Result<Value, Error> {
    let text = python_str(state, value)?;
    Ok(Value::from(strip(&text, chars, true, true)))
}

/// `value | string`.
pub fn string(state: &State, value: &Value) -> Result<Value, Error> {
    if value.kind() == ValueKind::String {
        return Ok(value.clone());
    }
    python_str(state, value).map(Value::from)
}

/// str.split(sep, maxsplit) and str.rsplit.
fn split(text: &str, separator: Option<&str>, maxsplit: i64, from_right: bool) -> Result<Vec<Value>, Error> {
    let limit = usize::try_from(maxsplit).unwrap_or(usize::MAX);
    let mut parts: Vec<&str> = Vec::new();
    let mut rest = text;
    if let Some(separator) = separator {
        if separator.is_empty() {
            return Err(invalid("empty separator"));
        }
        while parts.len() < limit {
            let found = if from_right { rest.rsplit_once(separator) } else { rest.split_once(separator) };
            let Some((left, right)) = found else { break };
            parts.push(if from_right { right } else { left });
            rest = if from_right { left } else { right };
        }
        parts.push(rest);
    } else {
        rest = strip(rest, None, !from_right, from_right);
        while parts.len() < limit && !rest.is_empty() {
            let found = if from_right {
                rest.char_indices().rev().find(|(_, c)| is_python_space(*c)).map(|(at, c)| (&rest[at + c.len_utf8()..], &rest[..at]))
            } else {
                rest.char_indices().find(|(_, c)| is_python_space(*c)).map(|(at, c)| (&rest[..at], &rest[at + c.len_utf8()..]))
            };
            let Some((part, remaining)) = found else { break };
            parts.push(part);
            rest = strip(remaining, None, !from_right, from_right);
        }
        rest = strip(rest, None, from_right, !from_right && parts.len() < limit);
        if !rest.is_empty() {
            parts.push(rest);
        }
    }
    if from_right {
        parts.reverse();
    }
    Ok(parts.into_iter().map(Value::from).collect())
}

fn split_lines(text: &str, keep_ends: bool) -> Vec<Value> {
    let is_end = |c: char| matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_end) {
        let width = if rest[at..].starts_with("\r\n") { 2 } else { rest[at..].chars().next().map_or(1, char::len_utf8) };
        lines.push(Value::from(&rest[..if keep_ends { at + width } else { at }]));
        rest = &rest[at + width..];
    }
    if !rest.is_empty() {
        lines.push(Value::from(rest));
    }
    lines
}

/// `value is iterable`: has __iter__, which None has not.
pub fn is_iterable(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable | ValueKind::Undefined)
}

/// The letter as it starts a word: the upper case, but for letters that are two in one and those without capitals of their own in words.
fn push_title_case(out: &mut String, letter: char) {
    match letter as u32 {
        0x1C4..=0x1C6 => out.push('\u{1C5}'),
        0x1C7..=0x1C9 => out.push('\u{1C8}'),
        0x1CA..=0x1CC => out.push('\u{1CB}'),
        0x1F1..=0x1F3 => out.push('\u{1F2}'),
        0x10D0..=0x10FF => out.push(letter),
        _ => {
            let mut upper = letter.to_uppercase();
            out.extend(upper.next());
            out.extend(upper.flat_map(char::to_lowercase));
        }
    }
}

/// str.title() and str.capitalize(): the first letter of each word, or of the text.
fn title(text: &str, every_word: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut starts_word = true;
    for (at, c) in text.chars().enumerate() {
        if if every_word { starts_word } else { at == 0 } {
            push_title_case(&mut out, c);
        } else {
            out.extend(c.to_lowercase());
        }
        starts_word = !(c.is_lowercase() || c.is_uppercase());
    }
    out
}

/// Methods of Python's str, list and dict. Those of str that depend on what is whitespace are here, the rest is minijinja's.
pub fn call_python_method(state: &mut State, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return pycompat::unknown_method_callback(state, value, method, arguments);
    };
    state.consume_fuel(text.len() as u64 / 64)?; // results may be small however long the text is
    match method {
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<&str>,) = from_args(arguments)?;
            Ok(Value::from(strip(text, chars, method != "rstrip", method != "lstrip")))
        }
        "split" | "rsplit" => {
            let (separator, maxsplit, options): (Option<&str>, Option<i64>, Kwargs) = from_args(arguments)?;
            let separator = separator.or(options.get("sep")?);
            let maxsplit = maxsplit.or(options.get("maxsplit")?).unwrap_or(-1);
            options.assert_all_used()?;
            Ok(Value::from(split(text, separator, maxsplit, method == "rsplit")?))
        }
        "splitlines" => {
            let (keep_ends,): (Option<bool>,) = from_args(arguments)?;
            Ok(Value::from(split_lines(text, keep_ends.unwrap_or(false))))
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(arguments)?;
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(arguments)?;
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        "title" | "capitalize" => {
            let () = from_args(arguments)?;
            Ok(Value::from(title(text, method == "title")))
        }
        "isspace" => {
            let () = from_args(arguments)?;
            Ok(Value::from(!text.is_empty() && text.chars().all(is_python_space)))
        }
        _ => pycompat::unknown_method_callback(state, value, method, arguments),
    }
}

pub fn raise_exception(message: &Value) -> Result<Value, Error> {
    Err(invalid(message.to_string()))
}

/// datetime.now().strftime(format): local time through the C library, as CPython does it.
pub fn strftime_now(format: &str) -> Result<Value, Error> {
    if format.is_empty() {
        return Ok(Value::from(""));
    }
    let c_format = std::ffi::CString::new(format).map_err(|_| invalid("strftime_now: the format holds a NUL"))?;
    let mut buffer = vec![0u8; 256 + 64 * format.len().min(1024)];
    // SAFETY: all pointers are to live locals, the buffer's size is passed along.
    let written = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut parts: libc::tm = std::mem::zeroed();
        libc::localtime_r(&now, &mut parts);
        libc::strftime(buffer.as_mut_ptr().cast(), buffer.len(), c_format.as_ptr(), &parts)
    };
    buffer.truncate(written);
    String::from_utf8(buffer).map(Value::from).map_err(|_| invalid("strftime_now: the result is not UTF-8"))
}
