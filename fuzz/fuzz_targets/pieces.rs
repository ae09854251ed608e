//! How an input is cut into the pieces in which a socket might bring it.

/// Cuts `octets` into pieces of lengths that `seed` decides: up to 1 with a multiple of 32, up to 32 at most.
pub(crate) fn pieces(mut octets: &[u8], seed: u8) -> Vec<&[u8]> {
    let longest = 1 + u32::from(seed % 32);
    let mut state = u32::from(seed);
    let mut pieces = Vec::new();
    while !octets.is_empty() {
        // Numerical Recipes' generator; its high bits are the good ones.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = 1 + (state >> 16) % longest;
        let (piece, rest) = octets.split_at(octets.len().min(length as usize));
        pieces.push(piece);
        octets = rest;
    }
    pieces
}
