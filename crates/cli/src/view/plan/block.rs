//! What is said of things, put together where it is the same; pure.

use deployer_core::node::Action;

use crate::scene::Kind;

/// What a line begins with that is of clouds.
const PART: char = '\t';

/// One or more things to which the same happens.
pub struct Block {
    pub mark: Action,
    pub names: Vec<String>,
    pub kind: Option<Kind>,
    pub body: Vec<String>,
}

/// Blocks that say the same become one with all their names; what is dangerous comes first.
pub fn merged(blocks: Vec<Block>) -> Vec<Block> {
    let mut merged: Vec<Block> = Vec::new();
    for block in blocks {
        let same = |it: &&mut Block| {
            it.mark == block.mark && it.kind == block.kind && it.body == block.body
        };
        match merged.iter_mut().find(same) {
            // What may lose data is told of each by itself.
            Some(other) if block.kind == Some(Kind::Service) || block.mark == Action::Create => {
                other.names.extend(block.names);
            }
            Some(_) | None => merged.push(block),
        }
    }
    merged.sort_by_key(|block| match block.mark {
        Action::Replace => 0,
        Action::Delete => 1,
        Action::NoOp | Action::Create | Action::Update | Action::Release => 2,
    });
    merged
}

/// What is made of each of several services, in more than one block, is said once, behind them.
pub fn common_parts(mut blocks: Vec<Block>) -> Vec<Block> {
    let is_made = |it: &Block| it.mark == Action::Create && it.kind == Some(Kind::Service);
    // Lines that go on are of the cloud above them.
    let begin = |it: &Block| {
        let at = it.body.iter().position(|line| line.starts_with(PART));
        at.unwrap_or(it.body.len())
    };
    let parts = |it: &Block| it.body[begin(it)..].to_vec();
    let mut made = blocks.iter().filter(|it| is_made(it)).map(parts);
    let Some(common) = made.next().filter(|it| !it.is_empty()) else {
        return blocks;
    };
    let mut others = made.peekable();
    if others.peek().is_none() || !others.all(|it| it == common) {
        return blocks;
    }
    for block in blocks.iter_mut().filter(|it| is_made(it)) {
        block.body.truncate(begin(block));
    }
    let last = blocks.iter().rposition(is_made).unwrap_or_default();
    let each = Block {
        mark: Action::Create,
        names: vec!["each of these services".to_owned()],
        kind: None,
        body: common,
    };
    blocks.insert(last + 1, each);
    blocks
}

/// An image that becomes another in several blocks is said once, before them: what it becomes, and
/// of which services.
pub fn common_images(mut blocks: Vec<Block>) -> (Vec<(String, Vec<String>)>, Vec<Block>) {
    const COMMON: usize = 2;
    let of = |line: &String| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // What is made says its image in a phrase that goes on, in further lines where it is long.
        let becomes = words.first() == Some(&"image") && words.contains(&"→");
        (becomes && !line.starts_with('\t')).then(|| words.join(" "))
    };
    let mut images: Vec<(String, Vec<String>, usize)> = Vec::new();
    for block in blocks.iter().filter(|it| it.kind == Some(Kind::Service)) {
        let Some(image) = block.body.iter().find_map(of) else {
            continue;
        };
        match images.iter_mut().find(|(known, ..)| *known == image) {
            Some((_, names, count)) => {
                names.extend(block.names.clone());
                *count += 1;
            }
            None => images.push((image, block.names.clone(), 1)),
        }
    }
    images.retain(|(.., count)| *count >= COMMON);
    let is_common = |line: &String| {
        let image = of(line);
        images
            .iter()
            .any(|(common, ..)| Some(common) == image.as_ref())
    };
    for block in &mut blocks {
        block.body.retain(|line| !is_common(line));
    }
    let images = images.into_iter().map(|(image, names, _)| (image, names));
    (images.collect(), blocks)
}
