/** The header in which a tool says how it is called: whose what it makes is, together with its user. */
export const OWNER_HEADER = 'mdevkit-owner'
