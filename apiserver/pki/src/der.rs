//! As much DER as a certificate needs.

/// One element: tag, length, content.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let used = bytes.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<u8>>();
        out.push(0x80 | used.len() as u8);
        out.extend(used);
    }
    out.extend_from_slice(content);
    out
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

/// A positive number of big-endian bytes.
pub(crate) fn integer(bytes: &[u8]) -> Vec<u8> {
    let mut digits: Vec<u8> = bytes.iter().skip_while(|byte| **byte == 0).copied().collect();
    if digits.first().is_none_or(|first| first & 0x80 != 0) {
        digits.insert(0, 0);
    }
    element(0x02, &digits)
}

/// An object identifier by its numbers.
pub(crate) fn oid(numbers: &[u32]) -> Vec<u8> {
    let mut content = vec![(numbers[0] * 40 + numbers[1]) as u8];
    for number in &numbers[2..] {
        let mut groups = vec![(number & 0x7f) as u8];
        let mut left = number >> 7;
        while left > 0 {
            groups.push(0x80 | (left & 0x7f) as u8);
            left >>= 7;
        }
        content.extend(groups.iter().rev());
    }
    element(0x06, &content)
}

/// A list of flags by their numbers; trailing zeros are left out, as DER wants them.
pub(crate) fn flags(set: &[u8]) -> Vec<u8> {
    let Some(highest) = set.iter().max() else { return element(0x03, &[0]) };
    let mut bytes = vec![0u8; usize::from(highest / 8) + 1];
    for flag in set {
        bytes[usize::from(flag / 8)] |= 0x80 >> (flag % 8);
    }
    let mut content = vec![7 - highest % 8];
    content.extend(bytes);
    element(0x03, &content)
}

pub(crate) fn bits(bytes: &[u8]) -> Vec<u8> {
    element(0x03, &[&[0], bytes].concat())
}

pub(crate) fn octets(bytes: &[u8]) -> Vec<u8> {
    element(0x04, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_as_the_standard_says() {
        assert_eq!(element(0x04, &[7; 3]), [4, 3, 7, 7, 7]);
        assert_eq!(&element(0x04, &[7; 300])[..4], [4, 0x82, 1, 44]);
        assert_eq!(&element(0x04, &[7; 128])[..3], [4, 0x81, 128]);
        assert_eq!(integer(&[0, 0, 5]), [2, 1, 5]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(oid(&[1, 2, 840, 10045, 4, 3, 2]), [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
        assert_eq!(flags(&[0, 2]), [3, 2, 5, 0xa0]);
        assert_eq!(flags(&[8]), [3, 3, 7, 0, 0x80]);
    }
}
