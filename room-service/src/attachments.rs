//! Files that are attached to messages: who may bring one to a room, and who may read it.
//!
//! A gateway moves the bytes, by way of the object store, and says what they are; what is decided and remembered is here.
//! It asks before it takes a file, and a file is put there only once its attachment is kept, so that whatever breaks off
//! in between is found by `removal.rs`, which removes the files of those that are nobody's any more.

mod removal;

use proto::{
    chat::v1::Attachment,
    edge::v1::{AttachRequest, attach_request::Ask},
};

pub(crate) use self::removal::Removal;
use crate::{
    Service,
    identity::Identity,
    ids::{RoomId, draw},
    refusal::Refusal,
    session::{check_may_write, enterable, is_blank},
};

/// The longest name of a file, in bytes: what file systems take.
const MAX_NAME: usize = 255;
/// How many files a message may have.
const MAX_PER_MESSAGE: usize = 10;

impl Service {
    /// Does what is asked about a file, and answers with what it is.
    pub(crate) async fn attach(&self, request: AttachRequest) -> Result<Attachment, Refusal> {
        if request.token.is_empty() {
            return Err(Refusal::Unauthenticated("A token is needed.".to_owned()));
        }
        let who = self.identify(&request.token).await?;
        let room = enterable(&request.room, &who)?;
        if self.removal.is_none() {
            return Err(Refusal::Forbidden("This chat takes no files: attachments are off.".to_owned()));
        }
        match request.ask {
            Some(Ask::Offered(offered)) => self.allow_upload(&room, &who, offered).await,
            Some(Ask::Came(came)) => self.keep_upload(&room, &who, came).await,
            Some(Ask::Wanted(id)) => self.find_attachment(&room, &who, &id).await,
            None => Err(Refusal::nothing_known()),
        }
    }

    async fn allow_upload(
        &self,
        room: &RoomId,
        who: &Identity,
        offered: Attachment,
    ) -> Result<Attachment, Refusal> {
        self.check_upload(room, who, &offered)?;
        self.limits.allow_upload(&who.member.id, offered.size)?;
        let rules_version = self.store.standing(room).await?.rules_version;
        self.check_rules(room, rules_version, &who.member.id).await?;
        Ok(offered)
    }

    async fn keep_upload(
        &self,
        room: &RoomId,
        who: &Identity,
        came: Attachment,
    ) -> Result<Attachment, Refusal> {
        self.check_upload(room, who, &came)?;
        let settings = &self.settings.attachments;
        if !settings.types.allow(&came.r#type) {
            return Err(Refusal::Invalid(format!("type: this chat takes no files of {}.", came.r#type)));
        }
        let attachment = Attachment { id: draw("f_"), ..came };
        self.store.keep_upload(room, &who.member.id, &attachment, settings.unsent_ttl).await?;
        metrics::counter!("parlor_room_service_uploads_total").increment(1);
        Ok(attachment)
    }

    fn check_upload(&self, room: &RoomId, who: &Identity, upload: &Attachment) -> Result<(), Refusal> {
        check_may_write(room, who)?;
        check_name(&upload.name)?;
        match upload.size {
            0 => Err(Refusal::Invalid("size: this file is empty.".to_owned())),
            bytes if bytes > self.settings.attachments.max_bytes => Err(Refusal::TooLarge {
                what: "size: this file",
                bytes: bytes as usize,
                max: self.settings.attachments.max_bytes,
            }),
            _ => Ok(()),
        }
    }

    async fn find_attachment(&self, room: &RoomId, who: &Identity, id: &str) -> Result<Attachment, Refusal> {
        self.limits.allow_call(&who.member.id)?;
        let found = self.store.attachment(room, id).await?;
        self.check_rules(room, found.rules_version, &who.member.id).await?;
        let words = "attachment: the room has none with this id, or not any more.";
        found.attachment.ok_or_else(|| Refusal::NotFound(words.to_owned()))
    }
}

/// The ids of what is to be attached to a message.
pub(crate) fn check_attachments(ids: Vec<String>) -> Result<Vec<String>, Refusal> {
    if ids.len() > MAX_PER_MESSAGE {
        let words = format!("attachments: a message has at most {MAX_PER_MESSAGE}.");
        return Err(Refusal::Invalid(words));
    }
    if ids.iter().enumerate().any(|(at, id)| ids[..at].contains(id)) {
        return Err(Refusal::Invalid("attachments: one is named twice.".to_owned()));
    }
    Ok(ids)
}

/// A name is shown and offered to whoever saves the file: it is one line, no path, and reads as it is written.
fn check_name(name: &str) -> Result<(), Refusal> {
    let turns_text = |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_bad =
        |c: char| c.is_control() || matches!(c, '/' | '\\' | '\u{2028}' | '\u{2029}') || turns_text(c);
    let fits = (1..=MAX_NAME).contains(&name.len())
        && !name.contains(is_bad)
        && !is_blank(name)
        && !matches!(name, "." | "..");
    let words = || format!("name: a file's name has 1 to {MAX_NAME} bytes, on one line and without slashes.");
    if fits { Ok(()) } else { Err(Refusal::Invalid(words())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_and_no_path() {
        for good in
            ["a", "photo of ada.jpg", "日本.png", "..a", "a..b", "%2e%2e", "<b>.html", &"x".repeat(255)]
        {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            " ",
            ".",
            "..",
            "../a",
            "a/b",
            "/etc/passwd",
            "c:\\a",
            "a\nb",
            "a\r\nset-cookie: b",
            "a\0.png",
            "\u{7f}",
            "\u{200b}",
            "photo\u{202e}gpj.exe",
            "\u{2066}a",
            "a\u{2028}b",
            &"x".repeat(256),
            &"é".repeat(128),
        ] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_message_has_few_files_and_each_once() {
        let ids = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(check_attachments(ids(&[])).is_ok());
        assert!(check_attachments(ids(&["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"])).is_ok());
        assert!(check_attachments(ids(&["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"])).is_err());
        assert!(check_attachments(ids(&["1", "2", "1"])).is_err());
    }
}
