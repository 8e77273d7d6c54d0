//! Tokenizer handle: the `tokenizers` crate, set up as transformers sets it up (no truncation, no padding, tokens of tokenizer_config.json added).

use crate::{guarded, slice, text, write_ids, write_text, EvbIds, EvbText};
use serde_json::Value as Json;
use std::collections::HashSet;
use tokenizers::{AddedToken, Tokenizer};

pub struct EvbTokenizer(Tokenizer);

/// One entry of the list that C++ makes from tokenizer_config.json: {"content", flags..., "only_if_missing"}.
fn added_token(entry: &Json) -> Result<(AddedToken, bool), String> {
    let content = entry.get("content").and_then(Json::as_str).ok_or("an added token has no text \"content\"")?;
    let flag = |name: &str| entry.get(name).and_then(Json::as_bool);
    let special = flag("special").unwrap_or(false);
    let token = AddedToken::from(content, special)
        .single_word(flag("single_word").unwrap_or(false))
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false))
        .normalized(flag("normalized").unwrap_or(!special));
    Ok((token, flag("only_if_missing").unwrap_or(false)))
}

fn build(json: &[u8], extra_tokens: &str, split_special_tokens: bool) -> Result<Tokenizer, String> {
    let mut tokenizer = Tokenizer::from_bytes(json).map_err(|error| error.to_string())?;
    tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
    tokenizer.with_padding(None);
    tokenizer.set_encode_special_tokens(split_special_tokens);

    let entries: Vec<Json> = serde_json::from_str(extra_tokens).map_err(|error| error.to_string())?;
    let mut known: HashSet<String> = tokenizer.get_added_tokens_decoder().into_values().map(|token| token.content).collect();
    let mut tokens = Vec::new();
    for entry in &entries {
        let (token, only_if_missing) = added_token(entry)?;
        if known.insert(token.content.clone()) || !only_if_missing {
            tokens.push(token);
        }
    }
    tokenizer.add_tokens(tokens).map_err(|error| error.to_string())?;
    Ok(tokenizer)
}

/// # Safety
/// All pointers are valid for their sizes; `error` is null or valid for writing.
#[no_mangle]
pub unsafe extern "C" fn evb_tokenizer_create(
    json: *const u8,
    json_size: usize,
    extra_tokens: *const u8,
    extra_tokens_size: usize,
    split_special_tokens: bool,
    error: *mut EvbText,
) -> *mut EvbTokenizer {
    guarded(error, || {
        let extra = text(extra_tokens, extra_tokens_size)?;
        build(slice(json, json_size), extra, split_special_tokens)
    })
    .map_or(std::ptr::null_mut(), |tokenizer| Box::into_raw(Box::new(EvbTokenizer(tokenizer))))
}

/// # Safety
/// `tokenizer` is null or came from `evb_tokenizer_create` and is not used again.
#[no_mangle]
pub unsafe extern "C" fn evb_tokenizer_free(tokenizer: *mut EvbTokenizer) {
    if !tokenizer.is_null() {
        drop(Box::from_raw(tokenizer));
    }
}

/// # Safety
/// All pointers are valid for their sizes.
#[no_mangle]
pub unsafe extern "C" fn evb_tokenizer_encode(
    tokenizer: *const EvbTokenizer,
    input: *const u8,
    input_size: usize,
    add_special_tokens: bool,
    out: *mut EvbIds,
    error: *mut EvbText,
) -> bool {
    guarded(error, || {
        let encoding = (*tokenizer).0.encode_fast(text(input, input_size)?, add_special_tokens).map_err(|error| error.to_string())?;
        write_ids(out, encoding.get_ids().to_vec());
        Ok(())
    })
    .is_some()
}

/// # Safety
/// All pointers are valid for their sizes.
#[no_mangle]
pub unsafe extern "C" fn evb_tokenizer_decode(
    tokenizer: *const EvbTokenizer,
    ids: *const u32,
    ids_size: usize,
    skip_special_tokens: bool,
    out: *mut EvbText,
    error: *mut EvbText,
) -> bool {
    guarded(error, || {
        let decoded = (*tokenizer).0.decode(slice(ids, ids_size), skip_special_tokens).map_err(|error| error.to_string())?;
        write_text(out, decoded);
        Ok(())
    })
    .is_some()
}

/// # Safety
/// All pointers are valid for their sizes.
#[no_mangle]
pub unsafe extern "C" fn evb_tokenizer_token_to_id(tokenizer: *const EvbTokenizer, token: *const u8, token_size: usize, out: *mut u32) -> bool {
    guarded(std::ptr::null_mut(), || {
        *out = (*tokenizer).0.token_to_id(text(token, token_size)?).ok_or("no such token")?;
        Ok(())
    })
    .is_some()
}

/// # Safety
/// `tokenizer` came from `evb_tokenizer_create`.
#[no_mangle]
pub unsafe extern "C" fn evb_tokenizer_vocabulary_size(tokenizer: *const EvbTokenizer) -> usize {
    guarded(std::ptr::null_mut(), || Ok((*tokenizer).0.get_vocab_size(true))).unwrap_or(0)
}
