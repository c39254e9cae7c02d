//! The checksums that have a name: CRCs by their names in the catalogue of parametrised CRC algorithms
//! (<https://reveng.sourceforge.io/crc-catalogue/>), and the plain sums of serial protocols.

use crc::Crc;

/// How bytes are made into a number.
pub(crate) enum Sum {
    /// All bytes exclusive-ored.
    Xor,
    /// All bytes added, modulo 256.
    Sum8,
    /// The two's complement of `Sum8`: all bytes and it add up to 0.
    Lrc,
    /// All bytes added, modulo 65,536.
    Sum16,
    /// One byte.
    Crc8(Box<Crc<u8>>),
    /// Two bytes.
    Crc16(Box<Crc<u16>>),
    /// Four bytes.
    Crc32(Box<Crc<u32>>),
}

impl std::fmt::Debug for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sum of {} bytes", self.width())
    }
}

macro_rules! table {
    ($($name:ident)*) => { &[$((stringify!($name), &crc::$name)),*] };
}

const CRC_8: &[(&str, &crc::Algorithm<u8>)] = table!(
    CRC_8_AUTOSAR CRC_8_BLUETOOTH CRC_8_CDMA2000 CRC_8_DARC CRC_8_DVB_S2 CRC_8_GSM_A CRC_8_GSM_B CRC_8_HITAG
    CRC_8_I_432_1 CRC_8_I_CODE CRC_8_LTE CRC_8_MAXIM_DOW CRC_8_MIFARE_MAD CRC_8_NRSC_5 CRC_8_OPENSAFETY CRC_8_ROHC
    CRC_8_SAE_J1850 CRC_8_SMBUS CRC_8_TECH_3250 CRC_8_WCDMA
);
const CRC_16: &[(&str, &crc::Algorithm<u16>)] = table!(
    CRC_16_ARC CRC_16_CDMA2000 CRC_16_CMS CRC_16_DDS_110 CRC_16_DECT_R CRC_16_DECT_X CRC_16_DNP CRC_16_EN_13757
    CRC_16_GENIBUS CRC_16_GSM CRC_16_IBM_3740 CRC_16_IBM_SDLC CRC_16_ISO_IEC_14443_3_A CRC_16_KERMIT CRC_16_LJ1200
    CRC_16_M17 CRC_16_MAXIM_DOW CRC_16_MCRF4XX CRC_16_MODBUS CRC_16_NRSC_5 CRC_16_OPENSAFETY_A CRC_16_OPENSAFETY_B
    CRC_16_PROFIBUS CRC_16_RIELLO CRC_16_SPI_FUJITSU CRC_16_T10_DIF CRC_16_TELEDISK CRC_16_TMS37157 CRC_16_UMTS
    CRC_16_USB CRC_16_XMODEM
);
const CRC_32: &[(&str, &crc::Algorithm<u32>)] = table!(
    CRC_32_AIXM CRC_32_AUTOSAR CRC_32_BASE91_D CRC_32_BZIP2 CRC_32_CD_ROM_EDC CRC_32_CKSUM CRC_32_ISCSI
    CRC_32_ISO_HDLC CRC_32_JAMCRC CRC_32_MEF CRC_32_MPEG_2 CRC_32_XFER
);

/// Other names of the catalogue's that everybody understands alike. `CRC-16` and `CRC-CCITT` are none of them.
const ALIASES: &[(&str, &str)] = &[
    ("CRC_8", "CRC_8_SMBUS"),
    ("CRC_8_MAXIM", "CRC_8_MAXIM_DOW"),
    ("CRC_16_CCITT_FALSE", "CRC_16_IBM_3740"),
    ("CRC_16_CCITT_TRUE", "CRC_16_KERMIT"),
    ("CRC_16_X_25", "CRC_16_IBM_SDLC"),
    ("CRC_32", "CRC_32_ISO_HDLC"),
    ("CRC_32C", "CRC_32_ISCSI"),
];

impl Sum {
    /// Finds a checksum by its name, and says whether its low byte comes first where nothing else is said: so it is for
    /// CRCs that are reflected, and for no other.
    pub(crate) fn by_name(name: &str) -> Option<(Self, bool)> {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let word: String = name.chars().take(64).map(plain).collect();
        let word = ALIASES.iter().find(|(alias, _)| *alias == word).map_or(word.as_str(), |(_, name)| name);
        match word {
            "XOR" | "BCC" => return Some((Self::Xor, false)),
            "SUM_8" => return Some((Self::Sum8, false)),
            "LRC" => return Some((Self::Lrc, false)),
            "SUM_16" => return Some((Self::Sum16, false)),
            _ => {}
        }
        if let Some((_, found)) = CRC_8.iter().find(|(name, _)| *name == word) {
            return Some((Self::Crc8(Box::new(Crc::<u8>::new(found))), false));
        }
        if let Some((_, found)) = CRC_16.iter().find(|(name, _)| *name == word) {
            return Some((Self::Crc16(Box::new(Crc::<u16>::new(found))), found.refout));
        }
        let (_, found) = CRC_32.iter().find(|(name, _)| *name == word)?;
        Some((Self::Crc32(Box::new(Crc::<u32>::new(found))), found.refout))
    }

    /// All names, as people write them.
    pub(crate) fn names() -> Vec<String> {
        let crcs = CRC_8.iter().map(|(name, _)| *name);
        let crcs =
            crcs.chain(CRC_16.iter().map(|(name, _)| *name)).chain(CRC_32.iter().map(|(name, _)| *name));
        let crcs = crcs.chain(ALIASES.iter().map(|(name, _)| *name)).map(|name| {
            let (kind, rest) = name.split_at_checked(4).unwrap_or((name, ""));
            let kind = kind.replace('_', "-");
            match rest.split_once('_') {
                Some((width, of)) => format!("{kind}{width}/{}", of.replace('_', "-")),
                None => format!("{kind}{rest}"),
            }
        });
        ["XOR", "SUM-8", "LRC", "SUM-16"].into_iter().map(Into::into).chain(crcs).collect()
    }

    /// How many bytes the number has.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Xor | Self::Sum8 | Self::Lrc | Self::Crc8(_) => 1,
            Self::Sum16 | Self::Crc16(_) => 2,
            Self::Crc32(_) => 4,
        }
    }

    /// The number of all `parts` together, most significant byte first.
    pub(crate) fn of(&self, parts: &[&[u8]]) -> Vec<u8> {
        let bytes = || parts.iter().flat_map(|part| part.iter());
        let sum8 = || bytes().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        match self {
            Self::Xor => vec![bytes().fold(0, |sum, byte| sum ^ byte)],
            Self::Sum8 => vec![sum8()],
            Self::Lrc => vec![sum8().wrapping_neg()],
            Self::Sum16 => {
                bytes().fold(0_u16, |sum, byte| sum.wrapping_add((*byte).into())).to_be_bytes().into()
            }
            Self::Crc8(crc) => {
                let mut digest = crc.digest();
                for part in parts {
                    digest.update(part);
                }
                vec![digest.finalize()]
            }
            Self::Crc16(crc) => {
                let mut digest = crc.digest();
                for part in parts {
                    digest.update(part);
                }
                digest.finalize().to_be_bytes().into()
            }
            Self::Crc32(crc) => {
                let mut digest = crc.digest();
                for part in parts {
                    digest.update(part);
                }
                digest.finalize().to_be_bytes().into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: &[u8] = b"123456789";

    #[test]
    fn every_crc_gives_the_check_value_of_the_catalogue() {
        let of = |name: &str| Sum::by_name(name).unwrap().0.of(&[&CHECK[..4], &CHECK[4..]]);
        for (name, found) in CRC_8 {
            assert_eq!(of(name), found.check.to_be_bytes(), "{name}");
        }
        for (name, found) in CRC_16 {
            assert_eq!(of(name), found.check.to_be_bytes(), "{name}");
        }
        for (name, found) in CRC_32 {
            assert_eq!(of(name), found.check.to_be_bytes(), "{name}");
        }
        assert_eq!(CRC_8.len() + CRC_16.len() + CRC_32.len(), 63);
    }

    #[test]
    fn names_as_people_write_them() {
        // Values from the catalogue, and for the sums by hand.
        for (name, value) in [
            ("CRC-16/MODBUS", &[0x4b, 0x37][..]),
            ("crc-16/modbus", &[0x4b, 0x37]),
            ("CRC-16/CCITT-FALSE", &[0x29, 0xb1]),
            ("CRC-16/X-25", &[0x90, 0x6e]),
            ("CRC-16/XMODEM", &[0x31, 0xc3]),
            ("CRC-16/KERMIT", &[0x21, 0x89]),
            ("CRC-8", &[0xf4]),
            ("CRC-8/MAXIM-DOW", &[0xa1]),
            ("CRC-32", &[0xcb, 0xf4, 0x39, 0x26]),
            ("CRC-32C", &[0xe3, 0x06, 0x92, 0x83]),
            ("CRC-32/MPEG-2", &[0x03, 0x76, 0xe6, 0xe7]),
            ("XOR", &[0x31]),
            ("SUM-8", &[0xdd]),
            ("LRC", &[0x23]),
            ("SUM-16", &[0x01, 0xdd]),
        ] {
            assert_eq!(Sum::by_name(name).unwrap().0.of(&[CHECK]), value, "{name}");
        }
        for name in Sum::names() {
            assert!(Sum::by_name(&name).is_some(), "{name}");
        }
        assert!(Sum::names().contains(&"CRC-16/ISO-IEC-14443-3-A".to_owned()));
        assert!(Sum::names().contains(&"CRC-32C".to_owned()));
        for name in ["CRC-16", "", "MODBUS", "CRC-64/XZ"] {
            assert!(Sum::by_name(name).is_none(), "{name}");
        }
    }

    #[test]
    fn reflected_crcs_send_their_low_byte_first() {
        for (name, low_first) in
            [("CRC-16/MODBUS", true), ("CRC-32", true), ("CRC-16/XMODEM", false), ("SUM-16", false)]
        {
            assert_eq!(Sum::by_name(name).unwrap().1, low_first, "{name}");
        }
    }
}
