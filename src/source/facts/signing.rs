//! What of a request has to do with its signature: for whoever keeps a request to sign it anew.

use crate::verify::field::Field;
use crate::verify::json::select::Selector;
use crate::verify::scheme::Scheme;
use crate::verify::signature::Grammar;
use crate::verify::signed::{From, SignedScheme};

/// What of a request has to do with its signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signing {
    /// Where the signature, or the token that is a secret, stands in the body: pointers, with `*` for the
    /// parts of a batch; a form's field is a pointer of one step.
    pub proofs: Vec<String>,
    /// Headers that are signed and that signing doesn't make anew.
    pub covered: Vec<String>,
    /// Headers that name others that are signed.
    pub lists: Vec<String>,
    /// Headers in which values that are signed stand beside the signature.
    pub beside: Vec<Beside>,
}

/// A header of named values, some of which are made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// Its name.
    pub header: String,
    /// What parts its values.
    pub sep: String,
    /// The names of those that are made anew: signatures and the time.
    pub fresh: Vec<String>,
}

/// That of each way in.
pub(super) fn of(scheme: &Scheme) -> Signing {
    let mut all = Signing::default();
    add(scheme, &mut all);
    for list in [&mut all.proofs, &mut all.covered, &mut all.lists] {
        list.sort();
        list.dedup();
    }
    all.beside.dedup();
    all
}

fn add(scheme: &Scheme, all: &mut Signing) {
    match scheme {
        Scheme::Signed(signed) => add_signed(signed, all),
        Scheme::Jwt(token) => all.proofs.extend(in_body(&token.from, None)),
        Scheme::Token(token) => all.proofs.extend(in_body(&token.from, token.each.as_ref())),
        Scheme::Basic(_) | Scheme::Unsigned => {}
        Scheme::Any(members) | Scheme::All(members) => {
            members.iter().for_each(|member| add(member, all));
        }
    }
}

fn add_signed(signed: &SignedScheme, all: &mut Signing) {
    if let From::Field(field) = &signed.from {
        all.proofs.extend(in_body(field, signed.each.as_ref()));
    }
    let time = signed.clock.as_ref().and_then(|clock| clock.from.as_ref());
    let covered =
        signed.content.named().chain(signed.id.iter()).filter(|field| Some(*field) != time);
    all.covered.extend(covered.filter_map(|field| match field {
        Field::Header(name) => Some(name.clone()),
        _ => None,
    }));
    let lists: Vec<String> = signed.content.header_lists().map(str::to_owned).collect();
    all.covered.extend(lists.iter().cloned());
    all.lists.extend(lists);
    if signed.content.names_beside()
        && let (From::Field(Field::Header(header)), Grammar::Kv { sep, sig, ts }) =
            (&signed.from, &signed.grammar)
    {
        let fresh = sig.iter().chain(ts).cloned().collect();
        all.beside.push(Beside { header: header.clone(), sep: sep.clone(), fresh });
    }
}

fn in_body(field: &Field, each: Option<&Selector>) -> Option<String> {
    let before = each.map_or("", Selector::as_str);
    let of_form = |name: &str| format!("/{}", name.replace('~', "~0").replace('/', "~1"));
    match field {
        Field::Body(pointer) => Some(format!("{before}{}", pointer.as_str())),
        Field::Form(_, name) => Some(of_form(name)),
        Field::FormJson(_, name, pointer) => Some(of_form(name) + pointer.as_str()),
        Field::Header(_) | Field::Query(_) => None,
    }
}
