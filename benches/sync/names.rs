//! Names that a bench is fed with.

/// Latin with accents, Cyrillic, Greek, Arabic, Hebrew, Devanagari, Thai, Chinese, Japanese, Korean, emoji, Georgian.
pub(crate) const SCRIPTS: [(&str, &str); 12] = [
    ("Zoë", "Müller-Łęcka"),
    ("Владимир", "Ковалевский"),
    ("Ελένη", "Παπαδοπούλου"),
    ("شعيب", "الحسيني"),
    ("יהודית", "מלכה"),
    ("अनन्या", "त्रिपाठी"),
    ("สมหญิง", "ศรีสุวรรณ"),
    ("小明", "欧阳"),
    ("さくら", "高橋"),
    ("지우", "김"),
    ("Bea 👩‍👧", "🌸"),
    ("ნინო", "გელაშვილი"),
];
